// Commits and decommits 16 pages over and over through the engine, with no operating system behind it. Run by
// engine_instructions.cmake under callgrind; the figure is the difference between two runs.
// Argument: how many pairs.
#include <cstdio>
#include <cstdlib>

#include "engine/engine.h"
#include "support/null_memory_system.h"

int main(int argc, char** argv) {
  using namespace clr_host_memory;
  constexpr std::uint64_t kSize = 16 * kPageSize;
  const std::uint64_t pairs = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000;
  test::NullMemorySystem os;
  Engine engine(os, {.limit = {1 << 30}, .app_domain_headroom = {1 << 20}, .process_headroom = {1 << 20}});
  const AddressOutcome region = engine.Allocate({.size = 1 << 20, .type = win32::kMemReserve, .protect = 4},
                                                Criticality::kTask);
  if (!region.outcome.ok()) return 1;
  // As little as possible around the two calls, since it is counted too.
  const os::AllocateRequest commit{.address = region.address, .size = kSize, .type = win32::kMemCommit, .protect = 4};
  std::uint64_t failures = 0;
  for (std::uint64_t i = pairs; i != 0; --i) {
    if (!engine.Allocate(commit, Criticality::kTask).outcome.ok()) ++failures;
    if (!engine.Free(region.address, kSize, win32::kMemDecommit).ok()) ++failures;
  }
  if (engine.ledger().budget().Peak() != Bytes{kSize}) ++failures;
  if (engine.ledger().budget().Charged() != Bytes{}) ++failures;
  if (failures != 0) std::fprintf(stderr, "%llu requests went wrong\n", static_cast<unsigned long long>(failures));
  return failures == 0 ? 0 : 1;
}
