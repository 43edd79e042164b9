// Commits. Each kind of memory has its own way to learn which pages are missing, and to record them. The steps
// between, charge → act → settle, are the same for all: see ChargeAndCommit.
#include <algorithm>
#include <utility>

#include "engine/engine.h"
#include "ledger/commit.h"
#include "ledger/runs.h"

namespace clr_host_memory {
namespace {

// The charge of a request that needs no help, as nearly all: RequestCharge without retries.
struct FirstCharge {
  Budget& budget;
  const Criticality level;

  // Charges amount. False: refused, and nothing has changed.
  [[nodiscard]] bool TryCharge(Bytes amount) { return budget.TryCharge(amount, level) == Admission::kAdmitted; }
  // Cancel: the OS has refused the memory. Confirm: the OS has granted it.
  void Cancel(Bytes amount) { budget.CancelCharge(amount); }
  void Confirm(Bytes /*amount*/) {}
};

// How a commit ends once the OS has granted its pages.
struct Settlement {
  Outcome outcome;
  bool charged = true;  // false: the charge is cancelled
};

// Charges for the pages that a commit lacks, has the OS commit, and settles. Kind is one kind of memory:
//   Pages Missing()                the pages to charge for
//   bool Prepare(Pages missing)    before the OS is asked. False: no memory for tables, and nothing has changed
//   Refuse(request_charge, charge) the OS has refused: ends the charge
//   Settlement Settle(Pages paid, Address address)    the OS has committed at address
// All of this is local to the file, so that the compiler inlines it into its callers: it is the hottest path.
template <typename Kind, typename Charge>
AddressOutcome ChargeAndCommit(MemorySystem& os, Charge& request_charge, Kind& commit, const AllocateRequest& request) {
  const Pages missing = commit.Missing();
  const Bytes charge = missing.InBytes();
  if (!request_charge.TryCharge(charge)) return {Outcome::OverLimit()};
  if (!commit.Prepare(missing)) {
    request_charge.Cancel(charge);
    return {Outcome::NoMetadata()};
  }

  const AllocateResult result = os.Allocate(request);
  if (result.error != win32::kSuccess) {
    commit.Refuse(request_charge, charge);
    return {Outcome::OsRefused(result.error)};
  }

  const Settlement settlement = commit.Settle(missing, result.address);
  if (settlement.charged) {
    request_charge.Confirm(charge);
  } else {
    request_charge.Cancel(charge);
  }
  if (!settlement.outcome.ok()) return {settlement.outcome};
  return {Outcome::Done(), result.address};
}

// What a commit does that the OS has refused, in most kinds of memory.
struct CancelsRefusedCharge {
  template <typename Charge>
  static void Refuse(Charge& request_charge, Bytes charge) {
    request_charge.Cancel(charge);
  }
};

// A commit in a region that the ledger knows. Tracked: CommitInWord or CommitInFlight.
template <typename Tracked>
class CommitInRegion : public CancelsRefusedCharge {
 public:
  CommitInRegion(Tracked& commit, const AllocateRequest& request) : commit_(commit), request_(request) {}

  [[nodiscard]] Pages Missing() const { return commit_.Missing(); }
  [[nodiscard]] bool Prepare(Pages /*missing*/) { return commit_.Enter(); }
  [[nodiscard]] Settlement Settle(Pages paid, Address address) {
    if (address != RoundDownToPage(request_.address)) {
      commit_.AskOs();
      return {Outcome::InvariantBroken(), false};
    }
    commit_.Settle(paid);
    return {Outcome::Done()};
  }

 private:
  Tracked& commit_;
  const AllocateRequest& request_;
};

// A commit so large that its tables are made only after the OS has granted it.
class CommitOfWideRange : public CancelsRefusedCharge {
 public:
  CommitOfWideRange(Ledger& ledger, MemorySystem& os, PageRange range)
      : ledger_(ledger), os_(os), range_(range), wide_(ledger), commit_(ledger, range) {}

  [[nodiscard]] Pages Missing() const { return commit_.Missing(); }
  [[nodiscard]] static constexpr bool Prepare(Pages /*missing*/) { return true; }
  [[nodiscard]] Settlement Settle(Pages paid, Address /*address*/) {
    if (!commit_.Enter()) return {Undo(), false};
    commit_.Settle(paid);
    if (wide_.HasConflict()) commit_.AskOs();
    return {Outcome::Done()};
  }

 private:
  // Decommits the uncharged pages. They belong to this commit, because earlier committed pages are charged.
  [[nodiscard]] Outcome Undo() {
    bool undone = true;
    ledger_.ForEachUncharged(range_, [&](PageRange pages) {
      undone &= os_.Free(pages.Start(), pages.count.InBytes().value, win32::kMemDecommit) == win32::kSuccess;
    });
    ledger_.AskOsAbout(range_);
    return undone ? Outcome::NoMetadata() : Outcome::InvariantBroken();
  }

  Ledger& ledger_;
  MemorySystem& os_;
  const PageRange range_;
  const WideCommit wide_;
  CommitInFlight commit_;
};

// A commit in a view of a section. The pages may already be committed through another view, and stay committed after
// this view is unmapped.
class CommitInSectionView : public CancelsRefusedCharge {
 public:
  CommitInSectionView(Ledger& ledger, Sections::Use& section, const Region& view, PageRange range)
      : ledger_(ledger), section_(section), view_(view), range_(range),
        pages_{range.first - view.Range().first + SectionView::Unpack(view.section_view).FirstPage(), range.count} {}

  [[nodiscard]] Pages Missing() const { return section_.Missing(pages_); }
  [[nodiscard]] bool Prepare(Pages /*missing*/) { return section_.Prepare(pages_); }
  [[nodiscard]] Settlement Settle(Pages paid, Address /*address*/) {
    const auto now = ledger_.FindRegion(range_.Start());
    if (!now || now->base != view_.base || now->section_view != view_.section_view) {
      RecordInOtherMapping(now);
      return {Outcome::Done(), false};
    }
    const Pages marked = section_.Mark(pages_);
    if (paid != marked) ledger_.budget().Uncharge((paid - marked).InBytes());  // other threads committed some of them
    return {Outcome::Done()};
  }

 private:
  // Another mapping has taken the view's place, and the OS has committed in it.
  void RecordInOtherMapping(const std::optional<Region>& now) {
    if (now && now->section_view != 0) {
      ledger_.AskOsAboutView(range_);
    } else if (CommitInFlight late(ledger_, range_); late.Enter()) {
      late.Settle({});
      late.AskOs();
    }
  }

  Ledger& ledger_;
  Sections::Use& section_;
  const Region& view_;
  const PageRange range_;  // in the address space
  const PageRange pages_;  // in the section
};

// A commit in memory that was reserved without the manager: an unannounced view, a thread's stack. This is rare, so it
// may ask the OS which pages are already committed. Those are not the CLR's.
class CommitInForeignRange {
 public:
  CommitInForeignRange(Ledger& ledger, PageRange range)
      : missing_(ledger.CountUncommitted(range)), commit_(std::in_place, ledger, range) {}

  [[nodiscard]] Pages Missing() const { return missing_; }
  [[nodiscard]] bool Prepare(Pages missing) {
    if (!commit_->Enter()) return false;
    commit_->ClaimUncommitted(missing);
    return true;
  }
  void Refuse(RequestCharge& request_charge, Bytes charge) {
    commit_->AskOs();
    commit_.reset();  // uncharges the pages, unless another commit is in progress there
    request_charge.Drop(charge);
  }
  [[nodiscard]] static constexpr Settlement Settle(Pages /*paid*/, Address /*address*/) { return {Outcome::Done()}; }

 private:
  const Pages missing_;
  std::optional<CommitInFlight> commit_;
};

}  // namespace

AddressOutcome Engine::Allocate(const AllocateRequest& request, Criticality level) {
  if (request.type != win32::kMemCommit) return AllocateWithRetries(request, level);
  const PageSpan span = ledger_.LocateOwn(request.address, request.size);
  if (span.word == nullptr) return AllocateWithRetries(request, level);
  bool attempted = true;
  const AddressOutcome first = [&] {
    CommitInWord commit(ledger_, span);
    // Register the commit before reading the gate: a thread that closes the gate either sees this commit or is seen
    // here.
    if (gate_.load() != 0) [[unlikely]] {
      attempted = false;
      return AddressOutcome{Outcome::ExclusiveElsewhere()};
    }
    FirstCharge first_charge{ledger_.budget(), level};
    CommitInRegion in_region(commit, request);
    return ChargeAndCommit(os_, first_charge, in_region, request);
  }();
  if (first.outcome.ok()) [[likely]]
    return first;
  return attempted ? RetryAllocation(request, level, first, span.range.count) : AllocateWithRetries(request, level);
}

// Reserves and commits a region with one call to the OS, as large pages need it.
AddressOutcome Engine::CommitNewRegion(const AllocateRequest& request, PageRange expected, std::uint16_t reserved_as,
                                       RequestCharge& request_charge) {
  struct NewRegion : CancelsRefusedCharge {
    Engine& engine;
    const AllocateRequest& request;
    const PageRange expected;
    const std::uint16_t reserved_as;
    const std::uint64_t conflicts;

    [[nodiscard]] Pages Missing() const { return expected.count; }
    [[nodiscard]] static constexpr bool Prepare(Pages /*missing*/) { return true; }
    [[nodiscard]] Settlement Settle(Pages paid, Address address) {
      const Region region{address, paid, Region::Kind::kReserved, reserved_as};
      const Outcome outcome = engine.RecordRegion(request, region, conflicts, true);
      return {outcome, outcome.ok()};
    }
  };
  NewRegion region{{}, *this, request, expected, reserved_as, ledger_.ConflictCount()};
  return ChargeAndCommit(os_, request_charge, region, request);
}

AddressOutcome Engine::CommitInKnownRegion(const AllocateRequest& request, PageRange range, Region::Kind kind,
                                           RequestCharge& request_charge) {
  if (ledger_.IsWide(range)) {
    CommitOfWideRange wide(ledger_, os_, range);
    return ChargeAndCommit(os_, request_charge, wide, request);
  }
  CommitInFlight commit(ledger_, range);
  CommitInRegion in_region(commit, request);
  const AddressOutcome result = ChargeAndCommit(os_, request_charge, in_region, request);
  // The CLR may unmap a view without telling the manager.
  if (result.outcome.ok() && kind == Region::Kind::kView) commit.NoteForeign();
  return result;
}

AddressOutcome Engine::CommitInSection(const AllocateRequest& request, PageRange range, const Region& view,
                                       RequestCharge& request_charge) {
  Sections::Use section(ledger_.sections(), SectionView::Unpack(view.section_view).section);
  if (!section.ok()) return Forward(request);  // the view is being unmapped: the OS returns the error
  CommitInSectionView in_view(ledger_, section, view, range);
  return ChargeAndCommit(os_, request_charge, in_view, request);
}

AddressOutcome Engine::CommitInForeignMemory(const AllocateRequest& request, PageRange range,
                                             RequestCharge& request_charge) {
  if (os_.Describe(range.Start()).allocation_base != 0) {
    CommitInForeignRange foreign(ledger_, range);
    return ChargeAndCommit(os_, request_charge, foreign, request);
  }
  const AddressOutcome forwarded = Forward(request);  // nothing is reserved there: the OS returns the error
  if (!forwarded.outcome.ok()) return forwarded;
  // Another thread has reserved it meanwhile, and may not have told the ledger yet.
  CommitInFlight late(ledger_, range);
  if (!late.Enter()) return {Outcome::InvariantBroken()};
  late.NoteForeign();
  late.Settle({});
  late.AskOs();
  return forwarded;
}

}  // namespace clr_host_memory
