// The signatures of a SavedModel: which graph tensor carries which named input and output.
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
  std::map<std::string, std::string> defaults;  // of inputs that may be left out: serialized TensorProtos
};

using Signatures = std::map<std::string, Signature>;

// All signatures of a serialized MetaGraphDef, without those that TensorFlow writes for itself (init and train ops).
Signatures ReadSignatures(std::string_view meta_graph_def);

// The signature of that name. With an empty name: serving_default, or the only one there is.
// Throws BackendError(INVALID_ARG) that lists the signatures if there is no such one, or no telling which is meant.
const Signature& ChooseSignature(const Signatures& signatures, const std::string& name);

}  // namespace recserve
