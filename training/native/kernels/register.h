// Registers the kernels of an operation for its types.
#pragma once

#include "tensorflow/core/framework/op_kernel.h"

// kernel: a class template of the type T, float or bfloat16.
#define RECSERVE_REGISTER_CPU(name, kernel)                                                                      \
  REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_CPU).TypeConstraint<float>("T"), kernel<float>); \
  REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_CPU).TypeConstraint<tensorflow::bfloat16>("T"),  \
                          kernel<tensorflow::bfloat16>)
