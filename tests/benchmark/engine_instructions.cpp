// Commits and decommits 16 pages repeatedly, over an OS that does nothing. engine_instructions.cmake runs this program
// under callgrind and takes the differences between runs.
// Arguments: the number of pairs; `engine`, or `os` for the same calls straight to the OS that does nothing.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "engine/engine.h"
#include "support/null_memory_system.h"
#include "support/std_thread_system.h"

namespace {

using namespace clr_host_memory;  // NOLINT: a program of one page

constexpr std::uint64_t kSize = 16 * kPageSize;

// Makes one pair of calls. Returns how many of them failed.
std::uint64_t ThroughEngine(Engine& engine, MemorySystem&, const AllocateRequest& commit) {
  std::uint64_t failures = 0;
  if (!engine.Allocate(commit, Criticality::kTask).outcome.ok()) ++failures;
  if (!engine.Free(commit.address, kSize, win32::kMemDecommit).ok()) ++failures;
  return failures;
}
std::uint64_t StraightToOs(Engine&, MemorySystem& os, const AllocateRequest& commit) {
  std::uint64_t failures = 0;
  if (os.Allocate(commit).error != win32::kSuccess) ++failures;
  if (os.Free(commit.address, kSize, win32::kMemDecommit) != win32::kSuccess) ++failures;
  return failures;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t pairs = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000;
  const bool through_engine = argc < 3 || std::string_view(argv[2]) != "os";
  test::NullMemorySystem os;
  test::StdThreadSystem threads;
  Engine engine(os, threads, {.limit = {1 << 30}, .app_domain_headroom = {1 << 20}, .process_headroom = {1 << 20}});
  const AddressOutcome region =
      engine.Allocate({.size = 1 << 20, .type = win32::kMemReserve, .protect = 4}, Criticality::kTask);
  if (!region.outcome.ok()) return 1;
  const AllocateRequest commit{.address = region.address, .size = kSize, .type = win32::kMemCommit, .protect = 4};
  std::uint64_t failures = 0;
  // The compiler cannot see through a volatile pointer. So the engine's virtual calls stay virtual.
  auto* volatile const pair_of_calls = through_engine ? &ThroughEngine : &StraightToOs;
  for (std::uint64_t i = pairs; i != 0; --i) failures += pair_of_calls(engine, os, commit);
  if (through_engine && engine.ledger().budget().Peak() != Bytes{kSize}) ++failures;
  if (engine.ledger().budget().Charged() != Bytes{}) ++failures;
  if (failures != 0) std::fprintf(stderr, "%llu requests went wrong\n", static_cast<unsigned long long>(failures));
  return failures == 0 ? 0 : 1;
}
