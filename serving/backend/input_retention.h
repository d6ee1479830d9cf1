// Finds out whether a graph may keep the memory of an input for longer than one run.
//
// A graph that assigns an input to a variable, or puts it into a queue or table, goes on reading its memory after the
// response, when the server has given that memory to the next request. Such graphs get copies of their inputs; all
// others may read a request's buffer in place.
#pragma once

#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "signature.h"

namespace recserve {

class GraphScan {
 public:
  // Reads the graph of a serialized MetaGraphDef, which must outlive this object.
  explicit GraphScan(std::string_view meta_graph_def);

  // True unless all that the signature's outputs depend on are operations known to keep nothing: those without state,
  // and those with state that only read it.
  bool MayKeepInputs(const Signature& signature) const;

 private:
  struct Node {
    std::string_view op;
    std::vector<std::string_view> inputs;     // nodes of the same graph; not read inside functions
    std::vector<std::string_view> functions;  // that its attributes name
  };

  static Node ReadNode(std::string_view node_def, std::string_view* name);
  void ReadFunction(std::string_view function_def);
  bool Keeps(const Node& node, std::set<std::string_view>* seen) const;

  std::map<std::string_view, Node> nodes_;
  std::map<std::string_view, std::vector<Node>> functions_;
};

}  // namespace recserve
