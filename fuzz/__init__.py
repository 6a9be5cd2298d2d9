"""What must hold for any bytes at all, as functions: for hypothesis in the tests, and for a fuzzer led by coverage."""
