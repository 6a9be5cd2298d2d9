"""Properties that hold for any bytes, as functions for hypothesis in the tests and for a coverage-guided fuzzer."""
