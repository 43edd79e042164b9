// Where blocks were allocated, by DebugAlloc's file and line, and how much of each place is still held. Bounded and
// lock-free; made when the first block comes that has a site.
#ifndef CLRHM_HEAP_ALLOCATION_SITES_H
#define CLRHM_HEAP_ALLOCATION_SITES_H

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "engine/engine.h"

namespace clr_host_memory {

// What is held of one place. file: the last characters of the name that was given.
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
  static constexpr std::size_t kMost = 512;  // the last one stands for all that there is no room for
  static constexpr std::size_t kLongestFile = 111;

  explicit AllocationSites(Engine& engine) : engine_(engine) {}
  ~AllocationSites();
  AllocationSites(const AllocationSites&) = delete;
  AllocationSites& operator=(const AllocationSites&) = delete;

  // file may be null. kNone: the OS has no memory for the table.
  [[nodiscard]] Index Find(const char* file, int line);
  void Add(Index site, std::uint64_t bytes);
  void Subtract(Index site, std::uint64_t bytes);
  // The position-th site there is a record of, from 0. False: there are no more.
  [[nodiscard]] bool Read(std::size_t position, SiteFigures* figures) const;

 private:
  struct Site {
    std::atomic<std::uint64_t> key = 0;       // of file and line; 0: free
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
