#include "bridge/criticality.h"

#include <gtest/gtest.h>

namespace clr_host_memory::bridge {
namespace {

constexpr std::size_t kMiB = 1024 * 1024;

void* At(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

TEST(Criticality, IsAsTheTableSays) {
  const std::uintptr_t base = 0x10000000;
  const ClrHostMemoryRegion gc{At(base), 16 * kMiB, 0, 0};
  const ClrHostMemoryRegion loader_heap{At(base), 16 * kMiB - 4096, 0, 0};
  const ClrHostMemoryRegion view{At(base), 64 * kMiB, 1, 0};
  const struct {
    const char* what;
    bool started;
    std::uintptr_t address;
    SIZE_T size;
    DWORD type;
    const ClrHostMemoryRegion* region;
    EMemoryCriticalLevel level;
  } table[] = {
      {"growth of the GC heap", true, base, 4096, MEM_COMMIT, &gc, eTaskCritical},
      {"the last page of it", true, base + 16 * kMiB - 4096, 4096, MEM_COMMIT, &gc, eTaskCritical},
      {"all of it", true, base, 16 * kMiB, MEM_COMMIT, &gc, eTaskCritical},
      {"growth with another flag", true, base, 4096, MEM_COMMIT | MEM_TOP_DOWN, &gc, eTaskCritical},
      {"growth before the runtime has started", false, base, 4096, MEM_COMMIT, &gc, eProcessCritical},
      {"a loader heap", true, base, 4096, MEM_COMMIT, &loader_heap, eProcessCritical},
      {"code in a mapped view", true, base, 4096, MEM_COMMIT, &view, eProcessCritical},
      {"memory nobody knows", true, base, 4096, MEM_COMMIT, nullptr, eProcessCritical},
      {"a new block", true, 0, 32 * kMiB, MEM_COMMIT, &gc, eProcessCritical},
      {"a reservation", true, base, 32 * kMiB, MEM_RESERVE, &gc, eProcessCritical},
      {"both at once", true, base, 32 * kMiB, MEM_RESERVE | MEM_COMMIT, &gc, eProcessCritical},
      {"MEM_RESET", true, base, 4096, MEM_RESET, &gc, eProcessCritical},
      {"beyond the end", true, base + 16 * kMiB - 4096, 8192, MEM_COMMIT, &gc, eProcessCritical},
      {"at the end", true, base + 16 * kMiB + 4096, 4096, MEM_COMMIT, &gc, eProcessCritical},
      {"before the start", true, base - 4096, 4096, MEM_COMMIT, &gc, eProcessCritical},
      {"a size that would wrap round", true, base + 4096, SIZE_MAX, MEM_COMMIT, &gc, eProcessCritical},
  };
  for (const auto& row : table) {
    EXPECT_EQ(CriticalityOf(row.started, At(row.address), row.size, row.type, row.region), row.level) << row.what;
  }
}

TEST(Criticality, AsksForTheRegionOnlyWhereItDecides) {
  EXPECT_TRUE(CriticalityDependsOnRegion(true, At(4096), MEM_COMMIT));
  EXPECT_FALSE(CriticalityDependsOnRegion(false, At(4096), MEM_COMMIT));
  EXPECT_FALSE(CriticalityDependsOnRegion(true, nullptr, MEM_COMMIT));
  EXPECT_FALSE(CriticalityDependsOnRegion(true, At(4096), MEM_COMMIT | MEM_RESERVE));
  EXPECT_FALSE(CriticalityDependsOnRegion(true, At(4096), MEM_RESET));
}

}  // namespace
}  // namespace clr_host_memory::bridge
