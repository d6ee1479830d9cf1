#include "input_retention.h"

#include <algorithm>
#include <string>

#include "protobuf_wire.h"
#include "tensor.h"

namespace recserve {

namespace {

// Field numbers of TensorFlow's meta_graph.proto, graph.proto, function.proto, node_def.proto, attr_value.proto and
// op_def.proto.
constexpr uint32_t kMetaGraphGraph = 2, kGraphNode = 1, kGraphLibrary = 2, kLibraryFunction = 1;
constexpr uint32_t kFunctionSignature = 1, kFunctionNode = 3, kOpDefName = 1, kOpDefIsStateful = 17, kOpListOp = 1;
constexpr uint32_t kNodeName = 1, kNodeOp = 2, kNodeInput = 3, kNodeAttribute = 5, kMapValue = 2;
constexpr uint32_t kAttributeList = 1, kAttributeFunction = 10, kListFunction = 9, kFunctionName = 1;

// Operations with state that do not hold on to what they are fed.
constexpr std::string_view kReaders[] = {
    "AnonymousHashTable", "Assert", "Case", "HashTable", "HashTableV2", "If", "LookupTableFind", "LookupTableFindV2",
    "LookupTableSizeV2", "Multinomial", "PartitionedCall", "RandomStandardNormal", "RandomUniform", "RandomUniformInt",
    "ReadVariableOp", "ResourceGather", "ResourceGatherNd", "StatefulPartitionedCall", "TruncatedNormal",
    "VarHandleOp", "VarIsInitializedOp", "Variable", "VariableV2", "While",
};

std::set<std::string> ReadStatelessOps() {
  std::set<std::string> stateless;
  Owned<TF_Buffer> list(TF_GetAllOpList());
  const std::string_view bytes(static_cast<const char*>(list->data), list->length);
  for (WireReader ops(bytes); ops.Next();) {
    if (ops.field() != kOpListOp) continue;
    std::string name;
    bool stateful = false;
    for (WireReader op(ops.bytes()); op.Next();) {
      if (op.field() == kOpDefName) name = op.text();
      if (op.field() == kOpDefIsStateful) stateful = op.integer() != 0;
    }
    if (!stateful) stateless.insert(name);
  }
  return stateless;
}

bool KeepsNothing(std::string_view op) {
  static const std::set<std::string> stateless = ReadStatelessOps();
  return stateless.count(std::string(op)) > 0 || std::find(std::begin(kReaders), std::end(kReaders), op) != std::end(kReaders);
}

std::string_view FunctionName(std::string_view name_attr_list) {
  std::string_view name;
  for (WireReader reader(name_attr_list); reader.Next();) {
    if (reader.field() == kFunctionName) name = reader.bytes();
  }
  return name;
}

void ReadFunctionNames(std::string_view attribute, std::vector<std::string_view>* names) {
  for (WireReader entry(attribute); entry.Next();) {
    if (entry.field() != kMapValue) continue;
    for (WireReader value(entry.bytes()); value.Next();) {
      if (value.field() == kAttributeFunction) names->push_back(FunctionName(value.bytes()));
      if (value.field() != kAttributeList) continue;
      for (WireReader list(value.bytes()); list.Next();) {
        if (list.field() == kListFunction) names->push_back(FunctionName(list.bytes()));
      }
    }
  }
}

// "^name", "name" and "name:1" -> "name"
std::string_view NodeOf(std::string_view tensor) {
  if (!tensor.empty() && tensor[0] == '^') tensor.remove_prefix(1);
  return tensor.substr(0, tensor.find(':'));
}

}  // namespace

GraphScan::GraphScan(std::string_view meta_graph_def) {
  for (WireReader meta(meta_graph_def); meta.Next();) {
    if (meta.field() != kMetaGraphGraph) continue;
    for (WireReader graph(meta.bytes()); graph.Next();) {
      if (graph.field() == kGraphNode) {
        std::string_view name;
        Node node = ReadNode(graph.bytes(), &name);
        nodes_[name] = std::move(node);
      }
      if (graph.field() != kGraphLibrary) continue;
      for (WireReader library(graph.bytes()); library.Next();) {
        if (library.field() == kLibraryFunction) ReadFunction(library.bytes());
      }
    }
  }
}

GraphScan::Node GraphScan::ReadNode(std::string_view node_def, std::string_view* name) {
  Node node;
  for (WireReader reader(node_def); reader.Next();) {
    if (reader.field() == kNodeName) *name = reader.bytes();
    if (reader.field() == kNodeOp) node.op = reader.bytes();
    if (reader.field() == kNodeInput) node.inputs.push_back(NodeOf(reader.bytes()));
    if (reader.field() == kNodeAttribute) ReadFunctionNames(reader.bytes(), &node.functions);
  }
  return node;
}

void GraphScan::ReadFunction(std::string_view function_def) {
  std::string_view name, ignored;
  std::vector<Node> nodes;
  for (WireReader reader(function_def); reader.Next();) {
    if (reader.field() == kFunctionSignature) {
      for (WireReader signature(reader.bytes()); signature.Next();) {
        if (signature.field() == kOpDefName) name = signature.bytes();
      }
    }
    if (reader.field() == kFunctionNode) nodes.push_back(ReadNode(reader.bytes(), &ignored));
  }
  functions_[name] = std::move(nodes);
}

bool GraphScan::Keeps(const Node& node, std::set<std::string_view>* seen) const {
  std::vector<std::string_view> called = node.functions;
  const bool is_call = functions_.count(node.op) > 0;
  if (is_call) called.push_back(node.op);
  if (!is_call && !KeepsNothing(node.op)) return true;
  for (const std::string_view name : called) {
    if (!seen->insert(name).second) continue;
    const auto function = functions_.find(name);
    if (function == functions_.end()) return true;
    for (const Node& inner : function->second) {
      if (Keeps(inner, seen)) return true;
    }
  }
  return false;
}

bool GraphScan::MayKeepInputs(const Signature& signature) const {
  std::set<std::string_view> visited, functions;
  std::vector<std::string_view> open;
  for (const auto& [name, output] : signature.outputs) open.push_back(NodeOf(output.tensor_name));
  while (!open.empty()) {
    const std::string_view name = open.back();
    open.pop_back();
    if (!visited.insert(name).second) continue;
    const auto node = nodes_.find(name);
    if (node == nodes_.end() || Keeps(node->second, &functions)) return true;
    open.insert(open.end(), node->second.inputs.begin(), node->second.inputs.end());
  }
  return false;
}

}  // namespace recserve
