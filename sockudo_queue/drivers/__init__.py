"""One kind of queue each. `base` is the contract, `factory` builds the one that is configured."""
