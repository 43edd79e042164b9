#include "heap/heap_engine.h"

namespace clr_host_memory {

HeapEngine::~HeapEngine() {
  if (heap_ == nullptr) return;
  engine_.os().DestroyHeap(heap_);
  const Bytes left{charged_.load()};
  engine_.ledger().SubtractHeapBytes(left);
  engine_.ledger().budget().Return(left);
}

Outcome HeapEngine::Create(std::uint32_t kind) {
  if (!engine_.Serving()) return Outcome::Unavailable();
  win32::Error error = win32::kSuccess;
  heap_ = engine_.os().CreateHeap(kind, &error);
  return heap_ == nullptr ? Outcome::OsRefused(error) : Outcome::Done();
}

BlockOutcome HeapEngine::Allocate(std::size_t size, Criticality level) {
  return engine_.AllocateOther<BlockOutcome>(level, [&](Payer& payer) { return AllocateOnce(size, payer); });
}

BlockOutcome HeapEngine::AllocateOnce(std::size_t size, Payer& payer) {
  const Bytes charge{size};
  if (!payer.TryCharge(charge)) return {Outcome::OverLimit()};

  win32::Error error = win32::kSuccess;
  void* block = engine_.os().HeapAllocate(heap_, size, &error);
  if (block == nullptr) {
    payer.Withdraw(charge);
    return {Outcome::OsRefused(error)};
  }
  Ledger& ledger = engine_.ledger();
  ledger.AddHeapBytes(charge);
  charged_.fetch_add(size);
  ledger.budget().NotePeak();
  return {Outcome::Done(), block};
}

Outcome HeapEngine::Free(void* block) {
  if (block == nullptr) return Outcome::Done();
  std::size_t size = 0;
  if (!engine_.os().HeapOwns(heap_, block, &size)) return Outcome::NotOurs();
  if (const win32::Error error = engine_.os().HeapRelease(heap_, block); error != win32::kSuccess) {
    return Outcome::OsRefused(error);
  }
  charged_.fetch_sub(size);
  engine_.ledger().SubtractHeapBytes({size});
  engine_.ledger().budget().Return({size});
  return Outcome::Done();
}

}  // namespace clr_host_memory
