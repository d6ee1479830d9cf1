// recserve's compiled CPU operations (training/native/kernels), for SavedModels that bring a graph made of them.
#pragma once

#include <string>

namespace recserve {

struct CpuKernels {
  bool loaded = false;
  bool bfloat16 = false;  // their bfloat16 products are the fastest of this processor
};

// Looks in the folder and its subfolders for libkernels.so with libkernels.json beside it, which says for which
// TensorFlow and which instructions it was compiled, and loads the most capable one that runs here. Logs what it found;
// that there is none is no error. Calls after the first do nothing.
void LoadCpuKernels(const std::string& folder);

// What was loaded.
const CpuKernels& LoadedCpuKernels();

// The folder `kernels` beside this library.
std::string DefaultKernelsFolder();

}  // namespace recserve
