#include "dtype.h"

namespace recserve {

namespace {

constexpr Dtype kDtypes[] = {
    {TRITONSERVER_TYPE_BOOL, TF_BOOL, 1, "BOOL", "TYPE_BOOL"},
    {TRITONSERVER_TYPE_UINT8, TF_UINT8, 1, "UINT8", "TYPE_UINT8"},
    {TRITONSERVER_TYPE_UINT16, TF_UINT16, 2, "UINT16", "TYPE_UINT16"},
    {TRITONSERVER_TYPE_UINT32, TF_UINT32, 4, "UINT32", "TYPE_UINT32"},
    {TRITONSERVER_TYPE_UINT64, TF_UINT64, 8, "UINT64", "TYPE_UINT64"},
    {TRITONSERVER_TYPE_INT8, TF_INT8, 1, "INT8", "TYPE_INT8"},
    {TRITONSERVER_TYPE_INT16, TF_INT16, 2, "INT16", "TYPE_INT16"},
    {TRITONSERVER_TYPE_INT32, TF_INT32, 4, "INT32", "TYPE_INT32"},
    {TRITONSERVER_TYPE_INT64, TF_INT64, 8, "INT64", "TYPE_INT64"},
    {TRITONSERVER_TYPE_FP16, TF_HALF, 2, "FP16", "TYPE_FP16"},
    {TRITONSERVER_TYPE_FP32, TF_FLOAT, 4, "FP32", "TYPE_FP32"},
    {TRITONSERVER_TYPE_FP64, TF_DOUBLE, 8, "FP64", "TYPE_FP64"},
    {TRITONSERVER_TYPE_BYTES, TF_STRING, 0, "BYTES", "TYPE_STRING"},
    {TRITONSERVER_TYPE_BF16, TF_BFLOAT16, 2, "BF16", "TYPE_BF16"},
};

}  // namespace

const Dtype* DtypeFromTensorFlow(TF_DataType type) {
  for (const Dtype& row : kDtypes) {
    if (row.tensorflow == type) return &row;
  }
  return nullptr;
}

const Dtype* DtypeFromConfigName(const std::string& config_name) {
  for (const Dtype& row : kDtypes) {
    if (config_name == row.config_name) return &row;
  }
  return nullptr;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ",";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace recserve
