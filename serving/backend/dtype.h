// One table of data types: Triton's number, TensorFlow's number, size and names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tensorflow/c/tf_datatype.h"
#include "triton_abi.h"

namespace recserve {

struct Dtype {
  TRITONSERVER_DataType triton;
  TF_DataType tensorflow;
  size_t bytes;             // of one element; 0 for BYTES, whose elements vary
  const char* name;         // as clients spell it: INT64
  const char* config_name;  // as config.pbtxt spells it: TYPE_INT64
};

// Null if the type is unknown.
const Dtype* DtypeFromTensorFlow(TF_DataType type);
const Dtype* DtypeFromConfigName(const std::string& config_name);

// "[-1,100]"
std::string ShapeText(const std::vector<int64_t>& shape);

}  // namespace recserve
