#include "string_tensor.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "status.h"
#include "tensorflow/c/tf_tstring.h"

namespace recserve {

namespace {

constexpr size_t kLengthBytes = 4;

TF_TString* Elements(const TF_Tensor* tensor) { return static_cast<TF_TString*>(TF_TensorData(tensor)); }

uint32_t LittleEndian(const unsigned char* bytes) {
  return bytes[0] | uint32_t{bytes[1]} << 8 | uint32_t{bytes[2]} << 16 | uint32_t{bytes[3]} << 24;
}

// Reads on across the ends of the buffers.
class BufferReader {
 public:
  explicit BufferReader(const std::vector<BufferView>& buffers) : buffers_(buffers) {
    for (const BufferView& buffer : buffers) left_ += buffer.bytes;
  }

  uint64_t left() const { return left_; }

  // The next `size` bytes, in place if they lie in one buffer, else collected in `scratch`. size <= left().
  const char* Take(uint64_t size, std::string* scratch) {
    left_ -= size;
    SkipEmpty();
    if (size == 0) return "";
    if (buffers_[index_].bytes - offset_ >= size) return Advance(size);
    scratch->clear();
    while (scratch->size() < size) {
      SkipEmpty();
      const uint64_t part = std::min(size - scratch->size(), buffers_[index_].bytes - offset_);
      scratch->append(Advance(part), part);
    }
    return scratch->data();
  }

 private:
  void SkipEmpty() {
    while (index_ < buffers_.size() && offset_ == buffers_[index_].bytes) {
      ++index_;
      offset_ = 0;
    }
  }

  const char* Advance(uint64_t size) {
    const char* here = static_cast<const char*>(buffers_[index_].data) + offset_;
    offset_ += size;
    return here;
  }

  const std::vector<BufferView>& buffers_;
  size_t index_ = 0;
  uint64_t offset_ = 0;
  uint64_t left_ = 0;
};

[[noreturn]] void Malformed(const std::string& label, const std::string& what) {
  throw BackendError(TRITONSERVER_ERROR_INVALID_ARG, label + " is BYTES and malformed: " + what);
}

}  // namespace

void DecodeStrings(
    const std::string& label, const std::vector<BufferView>& buffers, uint64_t count, TF_Tensor* tensor,
    uint64_t first) {
  BufferReader reader(buffers);
  std::string scratch;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string element = "element " + std::to_string(i) + " of " + std::to_string(count);
    if (reader.left() < kLengthBytes) {
      Malformed(label, "the data ends before the length of " + element);
    }
    const uint32_t size = LittleEndian(reinterpret_cast<const unsigned char*>(reader.Take(kLengthBytes, &scratch)));
    if (reader.left() < size) {
      Malformed(
          label, element + " has length " + std::to_string(size) + ", but " + std::to_string(reader.left()) +
                     " bytes are left");
    }
    TF_StringCopy(&Elements(tensor)[first + i], reader.Take(size, &scratch), size);
  }
  if (reader.left() > 0) {
    Malformed(
        label, std::to_string(reader.left()) + " bytes are left after the last of " + std::to_string(count) +
                   " elements");
  }
}

uint64_t EncodedSize(const TF_Tensor* tensor, uint64_t first, uint64_t count) {
  uint64_t bytes = 0;
  for (uint64_t i = first; i < first + count; ++i) {
    const size_t size = TF_StringGetSize(&Elements(tensor)[i]);
    if (size > std::numeric_limits<uint32_t>::max()) {
      throw BackendError(
          TRITONSERVER_ERROR_UNSUPPORTED, "a string of " + std::to_string(size) + " bytes cannot be sent as BYTES");
    }
    bytes += kLengthBytes + size;
  }
  return bytes;
}

void EncodeStrings(const TF_Tensor* tensor, uint64_t first, uint64_t count, char* target) {
  for (uint64_t i = first; i < first + count; ++i) {
    const TF_TString* element = &Elements(tensor)[i];
    const size_t size = TF_StringGetSize(element);
    for (size_t byte = 0; byte < kLengthBytes; ++byte) *target++ = static_cast<char>(size >> (8 * byte) & 0xFF);
    std::memcpy(target, TF_StringGetDataPointer(element), size);
    target += size;
  }
}

void CopyStrings(TF_Tensor* tensor, uint64_t first, uint64_t count, uint64_t target) {
  for (uint64_t i = 0; i < count; ++i) {
    const TF_TString* source = &Elements(tensor)[first + i];
    TF_StringCopy(&Elements(tensor)[target + i], TF_StringGetDataPointer(source), TF_StringGetSize(source));
  }
}

}  // namespace recserve
