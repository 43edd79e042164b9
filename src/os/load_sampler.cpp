#include "os/load_sampler.h"

namespace clr_host_memory {
namespace {

constexpr std::uint64_t kLowSignalled = std::uint64_t{1} << 32;
constexpr std::uint64_t kHighSignalled = std::uint64_t{1} << 33;

}  // namespace

LoadSampler::Words LoadSampler::Pack(const Reading& reading) {
  const MemoryLoad& load = reading.load;
  const std::uint64_t flags =
      (load.low_signalled ? kLowSignalled : 0) | (load.high_signalled ? kHighSignalled : 0) | load.percent_in_use;
  return {flags,
          load.available_physical.value,
          load.total_physical.value,
          load.available_commit.value,
          load.total_commit.value,
          load.available_in_job.value,
          load.total_in_job.value,
          load.process_private.value,
          static_cast<std::uint64_t>(reading.taken_at.count())};
}

LoadSampler::Reading LoadSampler::Unpack(const Words& words) {
  return {.load = {.percent_in_use = static_cast<std::uint32_t>(words[0]),
                   .available_physical = {words[1]},
                   .total_physical = {words[2]},
                   .available_commit = {words[3]},
                   .total_commit = {words[4]},
                   .available_in_job = {words[5]},
                   .total_in_job = {words[6]},
                   .process_private = {words[7]},
                   .low_signalled = (words[0] & kLowSignalled) != 0,
                   .high_signalled = (words[0] & kHighSignalled) != 0},
          .taken_at = Milliseconds{static_cast<std::int64_t>(words[8])}};
}

// Each word is read with acquire and stored with release. A thread that reads a word of a store in progress therefore
// also sees the odd sequence number of that store.
std::optional<LoadSampler::Reading> LoadSampler::Stored(std::uint64_t sequence) const {
  if (sequence == 0 || sequence % 2 != 0) return std::nullopt;
  Words words;
  for (std::size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_acquire);
  if (sequence_.load(std::memory_order_relaxed) != sequence) return std::nullopt;
  return Unpack(words);
}

// Stores reading. sequence: read before the OS was asked. If it has changed since, a newer reading may be stored, and
// this delayed one does not replace it.
void LoadSampler::Store(std::uint64_t sequence, const Reading& reading) {
  if (sequence % 2 != 0) return;
  if (!sequence_.compare_exchange_strong(sequence, sequence + 1, std::memory_order_acq_rel)) return;
  const Words words = Pack(reading);
  for (std::size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_release);
  sequence_.store(sequence + 2, std::memory_order_release);
}

win32::Error LoadSampler::Ask(std::uint64_t sequence, MemoryLoad* load) {
  Reading reading;
  reading.taken_at = threads_.Now();
  if (const win32::Error error = memory_.Load(&reading.load); error != win32::kSuccess) return error;
  Store(sequence, reading);
  *load = reading.load;
  return win32::kSuccess;
}

win32::Error LoadSampler::Read(MemoryLoad* load) {
  const std::uint64_t sequence = sequence_.load(std::memory_order_acquire);
  const auto stored = Stored(sequence);
  if (!stored || threads_.Now() - stored->taken_at >= interval()) return Ask(sequence, load);
  *load = stored->load;
  return win32::kSuccess;
}

win32::Error LoadSampler::Refresh(MemoryLoad* load) { return Ask(sequence_.load(std::memory_order_acquire), load); }

}  // namespace clr_host_memory
