"""One model taught by several processes that torchrun started."""
