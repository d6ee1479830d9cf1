#include "signature.h"

#include "protobuf_wire.h"
#include "status.h"

namespace recserve {

namespace {

// Field numbers of TensorFlow's public .proto files: meta_graph.proto and tensor_shape.proto.
constexpr uint32_t kMetaGraphSignatureDef = 5;
constexpr uint32_t kMapKey = 1, kMapValue = 2;
constexpr uint32_t kSignatureInputs = 1, kSignatureOutputs = 2, kSignatureDefaults = 4;
constexpr const char* kDefaultSignature = "serving_default";
constexpr uint32_t kTensorInfoName = 1, kTensorInfoDtype = 2, kTensorInfoShape = 3;
constexpr uint32_t kShapeDim = 2, kShapeUnknownRank = 3, kDimSize = 1;

struct MapEntry {
  std::string key;
  std::string_view value;
};

MapEntry ReadMapEntry(std::string_view message) {
  MapEntry entry;
  for (WireReader reader(message); reader.Next();) {
    if (reader.field() == kMapKey) entry.key = reader.text();
    if (reader.field() == kMapValue) entry.value = reader.bytes();
  }
  return entry;
}

int64_t ReadDim(std::string_view message) {
  int64_t size = 0;
  for (WireReader reader(message); reader.Next();) {
    if (reader.field() == kDimSize) size = reader.integer();
  }
  return size;
}

void ReadShape(std::string_view message, SignatureTensor* tensor) {
  for (WireReader reader(message); reader.Next();) {
    if (reader.field() == kShapeDim) tensor->shape.push_back(ReadDim(reader.bytes()));
    if (reader.field() == kShapeUnknownRank) tensor->unknown_rank = reader.integer() != 0;
  }
}

SignatureTensor ReadTensorInfo(std::string_view message) {
  SignatureTensor tensor;
  for (WireReader reader(message); reader.Next();) {
    if (reader.field() == kTensorInfoName) tensor.tensor_name = reader.text();
    if (reader.field() == kTensorInfoDtype) tensor.dtype = static_cast<TF_DataType>(reader.integer());
    if (reader.field() == kTensorInfoShape) ReadShape(reader.bytes(), &tensor);
  }
  return tensor;
}

Signature ReadSignatureDef(const std::string& name, std::string_view message) {
  Signature signature;
  signature.name = name;
  for (WireReader reader(message); reader.Next();) {
    const uint32_t field = reader.field();
    if (field != kSignatureInputs && field != kSignatureOutputs && field != kSignatureDefaults) continue;
    const MapEntry entry = ReadMapEntry(reader.bytes());
    if (field == kSignatureInputs) signature.inputs[entry.key] = ReadTensorInfo(entry.value);
    if (field == kSignatureOutputs) signature.outputs[entry.key] = ReadTensorInfo(entry.value);
    if (field == kSignatureDefaults) signature.defaults[entry.key] = std::string(entry.value);
  }
  return signature;
}

bool IsTensorFlowsOwn(const std::string& name) {
  return name == "__saved_model_init_op" || name == "__saved_model_train_op";
}

}  // namespace

Signatures ReadSignatures(std::string_view meta_graph_def) {
  Signatures signatures;
  for (WireReader reader(meta_graph_def); reader.Next();) {
    if (reader.field() != kMetaGraphSignatureDef) continue;
    const MapEntry entry = ReadMapEntry(reader.bytes());
    if (!IsTensorFlowsOwn(entry.key)) signatures[entry.key] = ReadSignatureDef(entry.key, entry.value);
  }
  return signatures;
}

const Signature& ChooseSignature(const Signatures& signatures, const std::string& name) {
  const auto found = signatures.find(name.empty() ? kDefaultSignature : name);
  if (found != signatures.end()) return found->second;
  if (name.empty() && signatures.size() == 1) return signatures.begin()->second;
  std::string known;
  for (const auto& entry : signatures) known += (known.empty() ? "" : ", ") + entry.first;
  throw BackendError(
      TRITONSERVER_ERROR_INVALID_ARG, "the SavedModel has no signature '" + (name.empty() ? kDefaultSignature : name) +
                                          "' (it has: " + known + "); set the parameter TF_SIGNATURE_DEF in config.pbtxt");
}

}  // namespace recserve
