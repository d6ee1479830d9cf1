#include "signature.h"

#include "protobuf_wire.h"
#include "status.h"

namespace recserve {

namespace {

// Field numbers of TensorFlow's public .proto files: meta_graph.proto and tensor_shape.proto.
constexpr uint32_t kMetaGraphSignatureDef = 5;
constexpr uint32_t kMapKey = 1, kMapValue = 2;
constexpr uint32_t kSignatureInputs = 1, kSignatureOutputs = 2;
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
    if (reader.field() != kSignatureInputs && reader.field() != kSignatureOutputs) continue;
    const MapEntry entry = ReadMapEntry(reader.bytes());
    auto& tensors = reader.field() == kSignatureInputs ? signature.inputs : signature.outputs;
    tensors[entry.key] = ReadTensorInfo(entry.value);
  }
  return signature;
}

}  // namespace

Signature ReadSignature(std::string_view meta_graph_def, const std::string& name) {
  std::string known;
  for (WireReader reader(meta_graph_def); reader.Next();) {
    if (reader.field() != kMetaGraphSignatureDef) continue;
    const MapEntry entry = ReadMapEntry(reader.bytes());
    if (entry.key == name) return ReadSignatureDef(name, entry.value);
    known += (known.empty() ? "" : ", ") + entry.key;
  }
  throw BackendError(
      TRITONSERVER_ERROR_INVALID_ARG, "the SavedModel has no signature '" + name + "' (it has: " + known +
                                          "); set the parameter TF_SIGNATURE_DEF in config.pbtxt");
}

}  // namespace recserve
