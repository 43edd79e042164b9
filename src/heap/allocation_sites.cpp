#include "heap/allocation_sites.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace clr_host_memory {
namespace {

// Returns the FNV-1a hash of the name and the line; never 0.
[[nodiscard]] std::uint64_t KeyOf(const char* file, std::size_t length, int line) {
  std::uint64_t hash = 0xCBF2'9CE4'8422'2325u;
  const auto add = [&](unsigned char byte) { hash = (hash ^ byte) * 0x0000'0100'0000'01B3u; };
  for (std::size_t i = 0; i < length; ++i) add(static_cast<unsigned char>(file[i]));
  const auto number = static_cast<std::uint32_t>(line);
  for (unsigned shift = 0; shift < 32; shift += 8) add(static_cast<unsigned char>(number >> shift));
  return hash == 0 ? 1 : hash;
}

}  // namespace

AllocationSites::~AllocationSites() {
  if (Table* table = table_.load(); table != nullptr) engine_.FreeMetadata(table, sizeof(Table));
}

AllocationSites::Table* AllocationSites::EnsureTable() {
  Table* table = table_.load();
  if (table != nullptr) return table;
  void* memory = nullptr;
  if (!engine_.AllocateMetadata(sizeof(Table), Criticality::kTask, &memory).ok()) return nullptr;
  auto* made = new (memory) Table;
  if (table_.compare_exchange_strong(table, made)) return made;
  engine_.FreeMetadata(memory, sizeof(Table));
  return table;
}

AllocationSites::Index AllocationSites::Find(const char* file, int line) {
  Table* table = EnsureTable();
  if (table == nullptr) return kNone;
  const std::size_t length = file == nullptr ? 0 : std::strlen(file);
  const std::uint64_t key = KeyOf(file, length, line);
  constexpr std::size_t kOwn = kMost - 1;
  for (std::size_t probe = 0; probe < kOwn; ++probe) {
    const auto place = static_cast<std::size_t>((key + probe) % kOwn);
    Site& site = table->sites[place];
    std::uint64_t found = site.key.load();
    if (found == 0 && site.key.compare_exchange_strong(found, key)) {
      const std::size_t kept = std::min(length, kLongestFile);
      if (kept != 0) std::memcpy(site.file.data(), file + (length - kept), kept);
      site.line = line;
      site.readable.store(1);
      return static_cast<Index>(place + 1);
    }
    if (found == key) return static_cast<Index>(place + 1);
  }
  Site& rest = table->sites[kOwn];
  std::uint64_t free = 0;
  rest.key.compare_exchange_strong(free, 1);
  rest.readable.store(1);
  return static_cast<Index>(kMost);
}

void AllocationSites::Add(Index site, std::uint64_t bytes) {
  Site& found = table_.load()->sites[site - 1u];
  found.blocks.fetch_add(1);
  found.bytes.fetch_add(bytes);
}

void AllocationSites::Subtract(Index site, std::uint64_t bytes) {
  Site& found = table_.load()->sites[site - 1u];
  found.blocks.fetch_sub(1);
  found.bytes.fetch_sub(bytes);
}

bool AllocationSites::Read(std::size_t position, SiteFigures* figures) const {
  const Table* table = table_.load();
  if (table == nullptr) return false;
  for (std::size_t i = 0; i < kMost; ++i) {
    const Site& site = table->sites[i];
    if (site.readable.load() == 0 || position-- != 0) continue;
    *figures = {site.file.data(), site.line, site.blocks.load(), site.bytes.load()};
    return true;
  }
  return false;
}

}  // namespace clr_host_memory
