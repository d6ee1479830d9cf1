// The signature of a SavedModel: which graph tensor carries which named input and output.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tensorflow/c/tf_datatype.h"

namespace recserve {

struct SignatureTensor {
  std::string tensor_name;  // in the graph: "serving_default_user_id:0"
  TF_DataType dtype = TF_FLOAT;
  bool unknown_rank = false;
  std::vector<int64_t> shape;  // -1 where open; meaningless if the rank is unknown
};

struct Signature {
  std::string name;
  std::map<std::string, SignatureTensor> inputs;
  std::map<std::string, SignatureTensor> outputs;
};

// Reads one signature out of a serialized MetaGraphDef.
// Throws BackendError(INVALID_ARG) that lists the signatures there are if `name` is not among them.
Signature ReadSignature(std::string_view meta_graph_def, const std::string& name);

}  // namespace recserve
