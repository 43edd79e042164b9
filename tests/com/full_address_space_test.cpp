// A process whose address space is full. Only a 32-bit process can fill it.
#include <array>
#include <vector>

#include "manager_client.h"

namespace clr_host_memory::test {
namespace {

// Reserves all free address space behind the manager's back. The destructor releases it.
class AllAddressSpace {
 public:
  AllAddressSpace() {
    pieces_.reserve(65536);
    for (SIZE_T size = 64 * kMiB; size >= kGranule; size /= 2) {
      while (void* piece = ::VirtualAlloc(nullptr, size, MEM_RESERVE, PAGE_NOACCESS)) pieces_.push_back(piece);
    }
  }
  AllAddressSpace(const AllAddressSpace&) = delete;
  AllAddressSpace& operator=(const AllAddressSpace&) = delete;
  ~AllAddressSpace() {
    for (void* piece : pieces_) ::VirtualFree(piece, 0, MEM_RELEASE);
  }

 private:
  std::vector<void*> pieces_;
};

TEST(FullAddressSpace, CommitsInReservedRegionsSucceed) {
  if (sizeof(void*) != 4) GTEST_SKIP() << "only a 32-bit process can fill its address space; the x86 builds run this";
  const MemoryManager manager = MakeManager();
  constexpr SIZE_T kSize = 40 * kMiB;
  std::array<void*, 32> regions{};
  for (void*& region : regions) {
    region = Allocate(manager.get(), nullptr, kSize, MEM_RESERVE, PAGE_READWRITE);
    ASSERT_NE(nullptr, region);
  }
  int refused = 0;
  bool reserved_more = false;
  bool exact = false;
  {
    const AllAddressSpace full;
    for (void* region : regions) {
      for (const SIZE_T offset : {SIZE_T{0}, kSize / 2, kSize - kPage}) {
        void* memory = nullptr;
        const HRESULT hr =
            manager.get()->VirtualAlloc(At(region, offset), kPage, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &memory);
        if (hr != S_OK) ++refused;
      }
    }
    void* memory = nullptr;
    reserved_more =
        manager.get()->VirtualAlloc(nullptr, kMiB, MEM_RESERVE, PAGE_READWRITE, eTaskCritical, &memory) == S_OK;
    const ClrHostMemoryAudit audit = manager.Audit();
    exact = audit.mismatch == 0 && audit.in_flight == 0;
  }
  EXPECT_EQ(0, refused) << "of " << 3 * regions.size();
  EXPECT_FALSE(reserved_more) << "the address space was not full";
  EXPECT_TRUE(exact);
  EXPECT_EQ(std::uint64_t{3 * kPage * regions.size()}, manager.Statistics().charged);
  for (void* region : regions) EXPECT_HR(S_OK, manager.get()->VirtualFree(region, 0, MEM_RELEASE));
  EXPECT_TRUE(LedgerIsExact(manager.get()));
}

}  // namespace
}  // namespace clr_host_memory::test
