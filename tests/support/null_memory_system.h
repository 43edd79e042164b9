// An OS that grants every request and does nothing, so that measurements show the manager's own cost. A reservation
// returns the next unused address. A commit returns the requested address.
#ifndef CLRHM_TESTS_SUPPORT_NULL_MEMORY_SYSTEM_H
#define CLRHM_TESTS_SUPPORT_NULL_MEMORY_SYSTEM_H

#include <cstdlib>

#include "os/memory_system.h"

namespace clr_host_memory::test {

class NullMemorySystem final : public MemorySystem {
 public:
  AllocateResult Allocate(const AllocateRequest& request) override {
    if (request.address != 0) return {RoundDownToPage(request.address)};
    const Address base = next_;
    next_ += RoundDownToGranule(request.size + kGranuleSize - 1);
    return {base};
  }
  win32::Error Free(Address, std::uint64_t, std::uint32_t) override { return win32::kSuccess; }
  win32::Error Query(Address, void*, std::size_t, std::size_t* written) override {
    *written = 0;
    return win32::kSuccess;
  }
  win32::Error Protect(Address, std::uint64_t, std::uint32_t, std::uint32_t*) override { return win32::kSuccess; }
  PageRun Describe(Address) override { return {}; }
  win32::Error Load(MemoryLoad*) override { return win32::kSuccess; }
  void* AllocateMetadata(std::size_t size) override { return std::calloc(1, size); }
  void FreeMetadata(void* memory, std::size_t) override { std::free(memory); }

 private:
  Address next_ = Address{1} << 32;
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_NULL_MEMORY_SYSTEM_H
