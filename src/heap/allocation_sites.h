// The table of allocation sites: DebugAlloc's file and line, and the blocks and bytes that each site still holds. It
// is bounded and lock-free. The first block with a site creates it.
#ifndef CLRHM_HEAP_ALLOCATION_SITES_H
#define CLRHM_HEAP_ALLOCATION_SITES_H

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "engine/engine.h"

namespace clr_host_memory {

// The blocks and bytes that one site holds. file: the last characters of the given name.
struct SiteFigures {
  const char* file = "";
  int line = 0;
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
};

class AllocationSites {
 public:
  using Index = std::uint16_t;
  static constexpr Index kNone = 0;
  static constexpr std::size_t kMost = 512;  // the last entry collects all sites beyond the capacity
  static constexpr std::size_t kLongestFile = 111;

  explicit AllocationSites(Engine& engine) : engine_(engine) {}
  ~AllocationSites();
  AllocationSites(const AllocationSites&) = delete;
  AllocationSites& operator=(const AllocationSites&) = delete;

  // Returns the site's index, adding the site if it is new. file may be null. kNone: the OS has no memory for the
  // table.
  [[nodiscard]] Index Find(const char* file, int line);
  void Add(Index site, std::uint64_t bytes);
  void Subtract(Index site, std::uint64_t bytes);
  // Reads the position-th recorded site, from 0. False: there are no more.
  [[nodiscard]] bool Read(std::size_t position, SiteFigures* figures) const;

 private:
  struct Site {
    std::atomic<std::uint64_t> key = 0;       // hash of file and line; 0: free
    std::atomic<std::uint32_t> readable = 0;  // file and line are written
    std::int32_t line = 0;
    std::atomic<std::uint64_t> blocks = 0;
    std::atomic<std::uint64_t> bytes = 0;
    std::array<char, kLongestFile + 1> file{};
  };
  struct Table {
    std::array<Site, kMost> sites;
  };
  [[nodiscard]] Table* EnsureTable();

  Engine& engine_;
  std::atomic<Table*> table_ = nullptr;
};

}  // namespace clr_host_memory

#endif  // CLRHM_HEAP_ALLOCATION_SITES_H
