# The float32 kernels for neon.
include "module.pxi"
