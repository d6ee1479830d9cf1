#include "files.h"

#include <array>
#include <fstream>
#include <iterator>

#include "status.h"

namespace recserve {

namespace {

std::array<uint32_t, 256> CrcTable() {
  std::array<uint32_t, 256> table;
  for (uint32_t byte = 0; byte < table.size(); ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? 0xEDB88320u ^ (value >> 1) : value >> 1;
    table[byte] = value;
  }
  return table;
}

}  // namespace

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw BackendError(TRITONSERVER_ERROR_NOT_FOUND, "cannot read " + path);
  return text;
}

uint32_t Crc32(const std::string& bytes) {
  static const std::array<uint32_t, 256> table = CrcTable();
  uint32_t value = 0xFFFFFFFFu;
  for (const unsigned char byte : bytes) value = table[(value ^ byte) & 0xFF] ^ (value >> 8);
  return value ^ 0xFFFFFFFFu;
}

}  // namespace recserve
