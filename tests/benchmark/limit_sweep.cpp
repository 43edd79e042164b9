// Finds the least memory in total with which each sample program passes, under four policies (sweep_result.h). The
// parameter of each policy is bisected. The total is always what the manager has on account at the peak. Writes the
// page and the chart of docs/results, again after each row.
//   limit_sweep [--programs A,B] [--runtimes net8.0,net10.0] [--repeats N] [--precision N] [--timeout SECONDS]
//               [--jobs N] [--output FILE.md] [--notes FILE]
// Exit code 0: every run could be made; 1: a run could not be made; 3: a run exceeded its limit or failed its audit.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "benchmark/edge_search.h"
#include "benchmark/run_ending.h"
#include "benchmark/sweep_result.h"
#include "tool/text/size_text.h"

namespace clrhm_test {
namespace {

using clr_host_memory::tool::FormatSize;

struct Sample {
  const char* name;  // of the table's row
  const char* program;
  std::vector<std::string> arguments;
  Environment environment;
};

// Returns all sample programs that need nothing from the manager and that end by themselves. ComClient, IdleCollections
// and BufferCache call the manager, and LoaderHeapAtLimit runs until memory runs out.
const std::vector<Sample>& Samples() {
  // Freeing W^X code mappings is fatal to .NET 10 under Wine 8 under every host (see LoadAssemblies.cs).
  static const Environment kPlainCode{{"DOTNET_EnableWriteXorExecute", "0"}};
  static const std::vector<Sample> kSamples{
      {"Hello", "Hello", {}, {}},
      {"AllocateUntilOom 64", "AllocateUntilOom", {"64"}, {}},
      {"SmallObjects 64", "SmallObjects", {"64"}, {}},
      {"LargeObjects 256", "LargeObjects", {"256"}, {}},
      {"ManyThreads 16 8", "ManyThreads", {"16", "8"}, {}},
      {"LoadAssemblies 5", "LoadAssemblies", {"5"}, kPlainCode},
      {"Churn 64", "Churn", {"64"}, {}},
      {"Churn 64, server GC", "Churn", {"64"}, {{"DOTNET_gcServer", "1"}}},
      {"Churn 64, clrgc.dll", "Churn", {"64"}, {{"DOTNET_GCName", "clrgc.dll"}}},
      {"NativeHeavy", "NativeHeavy", {}, kPlainCode},
      {"CollectibleContexts 5 6", "CollectibleContexts", {"5", "6"}, kPlainCode},
      {"WebHello 100", "WebHello", {"100"}, kPlainCode},
      {"SteadyAllocations 8", "SteadyAllocations", {"8"}, {}},
      {"MemoryInfo", "MemoryInfo", {}, {}},
      {"ExitEarly", "ExitEarly", {}, {}},
      {"Crash", "Crash", {}, {}},
  };
  return kSamples;
}

struct Settings {
  std::vector<std::string> programs;  // rows to run; empty: all
  std::vector<std::string> runtimes{"net8.0", "net10.0"};
  PageSettings page;
  int jobs = 2;
  std::string output;
  std::string notes;
};

std::vector<std::string> SplitAtCommas(const std::string& text) {
  std::vector<std::string> pieces;
  std::stringstream stream(text);
  for (std::string piece; std::getline(stream, piece, ',');) pieces.push_back(piece);
  return pieces;
}

int AtLeastOne(const std::string& option, const std::string& value) {
  const int number = std::atoi(value.c_str());
  if (number < 1) throw std::invalid_argument(option + " wants a number from 1, not " + value);
  return number;
}

Settings ParseSettings(const std::vector<std::string>& arguments) {
  Settings settings;
  settings.page.wine = WineVersion();
  for (std::size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& option = arguments[i];
    if (i + 1 == arguments.size()) throw std::invalid_argument(option + " wants a value");
    const std::string& value = arguments[i + 1];
    if (option == "--programs") {
      settings.programs = SplitAtCommas(value);
    } else if (option == "--runtimes") {
      settings.runtimes = SplitAtCommas(value);
    } else if (option == "--repeats") {
      settings.page.repeats = AtLeastOne(option, value);
    } else if (option == "--precision") {
      settings.page.precision = static_cast<std::uint64_t>(AtLeastOne(option, value));
    } else if (option == "--jobs") {
      settings.jobs = AtLeastOne(option, value);
    } else if (option == "--timeout") {
      settings.page.timeout_seconds = AtLeastOne(option, value);
    } else if (option == "--output") {
      settings.output = value;
    } else if (option == "--notes") {
      settings.notes = value;
    } else {
      throw std::invalid_argument("unknown option " + option);
    }
  }
  return settings;
}

std::string Hex(std::uint64_t value) {
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "%llX", static_cast<unsigned long long>(value));
  return text.data();
}

// What bounds a run: options of clrmem and variables of the environment.
struct Bounds {
  std::vector<std::string> options{"--quiet"};
  Environment environment;
};

// Returns the bounds of a policy with this parameter. The policies other than (a) run without the manager's limit. The
// manager then only counts, and it reports the real machine to the runtime.
Bounds BoundsOf(PolicyIndex policy, std::uint64_t parameter) {
  Bounds bounds;
  if (policy == kLimit) {
    bounds.options.insert(bounds.options.end(), {"--limit", std::to_string(parameter)});
    return bounds;
  }
  bounds.options.insert(bounds.options.end(), {"--gc-limit", "off"});
  if (policy == kContainer) {
    // `docker run --memory N` has two effects. The GC takes N for the machine, and 75 % of it, at least 20 MiB, for its
    // heap. The kernel ends the process when the total exceeds N. This variable has exactly the first effect: the GC
    // then treats N as a container's limit (is_restricted_physical_mem). EndingInContainer has the second. With
    // --gc-container (a)'s limit would bound this policy, too: it refuses and keeps headroom where a container kills.
    bounds.environment["DOTNET_GCTotalPhysicalMemory"] = Hex(parameter);
    return bounds;
  }
  bounds.environment["DOTNET_GCHeapHardLimit"] = Hex(parameter);
  if (policy == kHardLimitConserving) bounds.environment["DOTNET_GCConserveMemory"] = "7";
  return bounds;
}

// One row's program and the time after which its runs hang.
struct Subject {
  const Sample* sample = nullptr;
  Runtime runtime{};
  std::chrono::milliseconds timeout{};
};

// Throws std::runtime_error if clrmem cannot be started.
RunWithSummary RunUnder(const Subject& subject, const Bounds& bounds) {
  ProcessSettings process;
  process.environment = subject.sample->environment;
  process.environment.insert(bounds.environment.begin(), bounds.environment.end());
  process.timeout = subject.timeout;
  process.input = "";
  // Wine may fail to start a process while the machine is busy (ERROR_INTERNAL_ERROR). A later attempt succeeds.
  for (int attempts = 3;;) {
    try {
      return RunProgramWith(process, bounds.options, ProgramPath(subject.runtime, subject.sample->program),
                            subject.sample->arguments);
    } catch (const std::runtime_error&) {
      if (--attempts == 0) throw;
    }
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

std::uint64_t TotalOf(const nlohmann::json& summary) {
  return summary.is_null() ? 0 : summary.at("memory").at("peak_charged_bytes").get<std::uint64_t>();
}

class Sweep {
 public:
  explicit Sweep(Settings settings) : settings_(std::move(settings)) {}

  // Returns the program's exit code.
  [[nodiscard]] int Run();

 private:
  void AddSubjects(const Runtime& runtime);
  void RunRow(Subject subject, Row* row);
  [[nodiscard]] RunWithSummary RunUnlimited(const Subject& subject, const std::string& name);
  [[nodiscard]] Cell RunCell(const Subject& subject, const Row& row, PolicyIndex policy);
  void AddRuns(const Subject& subject, const Row& row, PolicyIndex policy, int count, Trial* trial);
  void NoteUnsound(const std::string& where, const nlohmann::json& summary);
  void Report();
  void Say(const std::string& text) {
    const std::lock_guard lock(mutex_);
    std::cout << text << std::endl;
  }

  Settings settings_;
  std::vector<Subject> subjects_;
  std::mutex mutex_;           // guards what follows, and the output
  std::vector<Row> rows_;      // of each subject
  std::vector<bool> is_done_;  // of each subject: its row is complete
  int exit_code_ = 0;
};

void Sweep::AddSubjects(const Runtime& runtime) {
  const auto& wanted = settings_.runtimes;
  if (std::find(wanted.begin(), wanted.end(), runtime.framework) == wanted.end()) return;
  if (const auto why = WhyNotRunnable(runtime)) {
    std::cout << ".NET " << runtime.version << " is left out: " << *why << std::endl;
    exit_code_ = 1;
    return;
  }
  for (const Sample& sample : Samples()) {
    const auto& named = settings_.programs;
    if (!named.empty() && std::find(named.begin(), named.end(), sample.name) == named.end() &&
        std::find(named.begin(), named.end(), sample.program) == named.end()) {
      continue;
    }
    subjects_.push_back({&sample, runtime, std::chrono::seconds(settings_.page.timeout_seconds)});
  }
}

int Sweep::Run() {
  for (const Runtime& runtime : {kNet8, kNet10}) AddSubjects(runtime);
  if (subjects_.empty()) throw std::runtime_error("there is no program to run");
  rows_.resize(subjects_.size());
  is_done_.resize(subjects_.size());
  std::atomic<std::size_t> next{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < settings_.jobs; ++i) {
      threads.emplace_back([&] {
        for (std::size_t at = next++; at < subjects_.size(); at = next++) {
          const Subject& subject = subjects_[at];
          try {
            Row row{.program = subject.sample->name, .runtime = subject.runtime.version};
            RunRow(subject, &row);
            const std::lock_guard lock(mutex_);
            rows_[at] = std::move(row);
            is_done_[at] = true;
            Report();
          } catch (const std::exception& error) {
            const std::lock_guard lock(mutex_);
            std::cerr << subject.sample->name << ", .NET " << subject.runtime.version
                      << " is left out: " << error.what() << std::endl;
            if (exit_code_ == 0) exit_code_ = 1;
          }
        }
      });
    }
  }
  return exit_code_;
}

RunWithSummary Sweep::RunUnlimited(const Subject& subject, const std::string& name) {
  RunWithSummary run = RunUnder(subject, {});
  if (run.process.timed_out || run.summary.is_null()) {
    throw std::runtime_error("without a limit it says: " + run.process.out + run.process.error);
  }
  NoteUnsound(name + " without a limit", run.summary);
  return run;
}

void Sweep::RunRow(Subject subject, Row* row) {
  const std::string name = row->program + ", .NET " + row->runtime;
  // Takes the maximum over three runs: the total varies with how fast a concurrent GC collects.
  for (int i = 0; i < 3; ++i) {
    const RunWithSummary run = RunUnlimited(subject, name);
    if (i != 0 && run.process.exit_code != row->exit_code) throw std::runtime_error("its exit code differs");
    row->exit_code = run.process.exit_code;
    row->total = std::max(row->total, TotalOf(run.summary));
    subject.timeout = std::max(subject.timeout, 10 * run.process.elapsed);
  }
  for (const PolicyIndex policy : {kLimit, kHardLimit, kHardLimitConserving, kContainer}) {
    const auto from = std::chrono::steady_clock::now();
    row->cells[policy] = RunCell(subject, *row, policy);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - from;
    const Trial* least = row->cells[policy].Least();
    const Trial* edge = row->cells[policy].Edge();
    const Trial* below = row->cells[policy].Below();
    std::ostringstream text;
    text << name << ", (" << kPolicies[policy].letter << "): "
         << (least == nullptr ? "never passes"
                              : "passes with " + FormatSize(least->total) + ", least N " + FormatSize(edge->parameter))
         << (below == nullptr ? "" : "; below: " + EndingsText(*below)) << "; " << took.count() << " s";
    Say(text.str());
  }
}

Cell Sweep::RunCell(const Subject& subject, const Row& row, PolicyIndex policy) {
  constexpr std::uint64_t kPage = 4096;  // the manager rounds its limit to whole pages
  constexpr std::uint64_t kLeast = (1 << 20) / kPage;
  const std::uint64_t first = std::max(kLeast, row.total / kPage + 1);
  Cell cell;
  const auto passes = [&](std::uint64_t pages) {
    Trial trial{.parameter = pages * kPage};
    // One run that fails decides. AddRuns stops there.
    AddRuns(subject, row, policy, settings_.page.repeats, &trial);
    cell.trials.push_back(trial);
    return trial.Passes();
  };
  SearchEdge({.least = kLeast, .first = first, .most = 4 * first, .precision = settings_.page.precision}, passes);
  if (const Trial* below = cell.Below()) {
    // The ending just below the edge may vary, too.
    Trial& trial = cell.trials[static_cast<std::size_t>(below - cell.trials.data())];
    while (trial.endings.size() < static_cast<std::size_t>(settings_.page.repeats)) {
      AddRuns(subject, row, policy, 1, &trial);
    }
  }
  return cell;
}

void Sweep::AddRuns(const Subject& subject, const Row& row, PolicyIndex policy, int count, Trial* trial) {
  const Bounds bounds = BoundsOf(policy, trial->parameter);
  for (int i = 0; i < count; ++i) {
    const RunWithSummary run = RunUnder(subject, bounds);
    const std::uint64_t total = TotalOf(run.summary);
    Ending ending = EndingOf(run.process, row.exit_code);
    if (policy == kContainer) ending = EndingInContainer(ending, total, trial->parameter);
    const std::string where = row.program + ", .NET " + row.runtime + ", (" + kPolicies[policy].letter + ") with N " +
                              std::to_string(trial->parameter);
    if (ending == Ending::kPasses && run.summary.is_null()) throw std::runtime_error(where + " wrote no summary");
    NoteUnsound(where, run.summary);
    trial->endings.push_back(ending);
    trial->total = std::max(trial->total, total);
    if (ending != Ending::kPasses) return;
  }
}

void Sweep::NoteUnsound(const std::string& where, const nlohmann::json& summary) {
  if (summary.is_null()) return;  // the process ended too abruptly, or was not started
  const std::string what = WhatIsUnsound(summary);
  if (what.empty()) return;
  const std::lock_guard lock(mutex_);
  exit_code_ = 3;
  std::cerr << "UNSOUND: " << where << ": " << what << "\n" << summary.dump(2) << std::endl;
}

// Writes the files. The caller holds the mutex.
void Sweep::Report() {
  const auto write = [](const std::string& file, const std::string& text) {
    if (file.empty()) return;
    std::ofstream stream(file, std::ios::binary);
    stream << text;
    if (!stream.flush()) throw std::runtime_error("cannot write " + file);
  };
  std::vector<Row> rows;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (is_done_[i]) rows.push_back(rows_[i]);
  }
  const std::string& page = settings_.output;
  write(page, SweepPage(rows, settings_.page));
  if (!page.empty()) write(page.substr(0, page.find_last_of("\\/") + 1) + settings_.page.chart, SweepChart(rows));
  write(settings_.notes, SweepNotes(rows));
}

int Main(const std::vector<std::string>& arguments) {
  try {
    return Sweep(ParseSettings(arguments)).Run();
  } catch (const std::exception& error) {
    std::cerr << "limit_sweep: " << error.what() << std::endl;
    return 1;
  }
}

}  // namespace
}  // namespace clrhm_test

int main(int argc, char** argv) { return clrhm_test::Main({argv + 1, argv + argc}); }
