// A libFuzzer target. The input bytes are the choices of EngineModel, which compares every result and every charge with
// its own.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "support/engine_model.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using clr_host_memory::test::EngineModel;
  std::size_t position = 0;
  EngineModel model([&](std::uint64_t n) {
    std::uint64_t value = 0;
    for (std::uint64_t reach = 1; reach < n && position < size; reach <<= 8) value = value << 8 | data[position++];
    return value % n;
  });
  const auto check = [](const std::optional<std::string>& wrong) {
    if (!wrong) return;
    std::fprintf(stderr, "%s\n", wrong->c_str());
    std::abort();
  };
  while (position < size) check(model.Step());
  check(model.Audit());
  check(model.FreeEverything());
  return 0;
}
