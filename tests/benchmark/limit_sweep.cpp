// Runs every sample program under limits from 30 to 100 % of its peak without a limit. Compares how it ends under
// clrmem's --limit with DOTNET_GCHeapHardLimit of the same size without the manager. Writes the table of
// docs/limit-sweep.md, again after each row. Also writes a file with details on each cell in which the manager's limit
// ends worse.
//   limit_sweep [--programs A,B] [--runtimes net8.0,net10.0] [--percents 30,40] [--repeats N] [--timeout SECONDS]
//               [--options --on-thrash,stop] (more options for clrmem, in addition to --limit)
//               [--jobs N] [--output FILE] [--notes FILE] [--clrmem PATH]
// Exit code 0: every run could be made and no cell ends worse; 1: a run could not be made; 3: a cell ends worse.
#include "benchmark/run_ending.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "clrhm_test_paths.h"
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

// Returns all sample programs that can run without the manager and that end by themselves. ComClient, IdleCollections
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
  std::vector<std::string> options;
  std::vector<int> percents{30, 40, 50, 60, 70, 80, 90, 100};
  int repeats = 5;
  int jobs = 2;
  std::chrono::seconds timeout{60};
  std::string output;
  std::string notes;
  std::string clrmem = kClrmemPath;
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
  for (std::size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& option = arguments[i];
    if (i + 1 == arguments.size()) throw std::invalid_argument(option + " wants a value");
    const std::string& value = arguments[i + 1];
    if (option == "--programs") {
      settings.programs = SplitAtCommas(value);
    } else if (option == "--runtimes") {
      settings.runtimes = SplitAtCommas(value);
    } else if (option == "--options") {
      settings.options = SplitAtCommas(value);
    } else if (option == "--percents") {
      settings.percents.clear();
      for (const std::string& percent : SplitAtCommas(value)) settings.percents.push_back(AtLeastOne(option, percent));
    } else if (option == "--repeats") {
      settings.repeats = AtLeastOne(option, value);
    } else if (option == "--jobs") {
      settings.jobs = AtLeastOne(option, value);
    } else if (option == "--timeout") {
      settings.timeout = std::chrono::seconds(AtLeastOne(option, value));
    } else if (option == "--output") {
      settings.output = value;
    } else if (option == "--clrmem") {
      settings.clrmem = value;
    } else if (option == "--notes") {
      settings.notes = value;
    } else {
      throw std::invalid_argument("unknown option " + option);
    }
  }
  return settings;
}

// The worst ending of a cell's runs under one kind of limit, and that run's output.
struct Worst {
  std::optional<Ending> ending;
  ProcessResult process;

  void Add(Ending of_run, ProcessResult&& run) {
    if (ending && *ending >= of_run) return;
    ending = of_run;
    process = std::move(run);
  }
};

struct Cell {
  int percent = 0;
  std::uint64_t limit = 0;
  Worst ours;
  Worst hard_limit;

  [[nodiscard]] bool IsComplete() const { return ours.ending && hard_limit.ending; }
  [[nodiscard]] bool IsWorse() const { return IsComplete() && *ours.ending > *hard_limit.ending; }
  [[nodiscard]] bool IsBetter() const { return IsComplete() && *ours.ending < *hard_limit.ending; }
};

struct Row {
  const Sample* sample = nullptr;
  Runtime runtime{};
  std::uint64_t peak = 0;
  std::uint32_t exit_code = 0;
  std::vector<Cell> cells;
};

std::string Hex(std::uint64_t value) {
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "%llX", static_cast<unsigned long long>(value));
  return text.data();
}

class Sweep {
 public:
  explicit Sweep(Settings settings) : settings_(std::move(settings)) {}

  // Returns false if a run could not be made or had no result.
  [[nodiscard]] bool Run();
  [[nodiscard]] bool AnyWorse() const;

 private:
  void RunRow(Row* row);
  void FindPeak(Row* row) const;
  void RunUnder(Row* row, Cell* cell, bool hard_limit);
  [[nodiscard]] ProcessSettings Process(const Sample& sample) const {
    ProcessSettings process;
    process.environment = sample.environment;
    process.timeout = settings_.timeout;
    return process;
  }
  void Report() const;
  [[nodiscard]] std::string Table() const;
  [[nodiscard]] std::string Notes() const;

  Settings settings_;
  std::vector<Row> rows_;
  mutable std::mutex mutex_;  // guards the cells
};

bool Sweep::Run() {
  bool all_ran = true;
  for (const Runtime& runtime : {kNet8, kNet10}) {
    const auto& wanted = settings_.runtimes;
    if (std::find(wanted.begin(), wanted.end(), runtime.framework) == wanted.end()) continue;
    if (const auto why = WhyNotRunnable(runtime)) {
      std::cout << ".NET " << runtime.version << " is left out: " << *why << std::endl;
      all_ran = false;
      continue;
    }
    for (const Sample& sample : Samples()) {
      const auto& named = settings_.programs;
      if (!named.empty() && std::find(named.begin(), named.end(), sample.name) == named.end() &&
          std::find(named.begin(), named.end(), sample.program) == named.end()) {
        continue;
      }
      Row row;
      row.sample = &sample;
      row.runtime = runtime;
      try {
        FindPeak(&row);
      } catch (const std::exception& error) {
        std::cout << sample.name << ", .NET " << runtime.version << " is left out: " << error.what() << std::endl;
        all_ran = false;
        continue;
      }
      rows_.push_back(std::move(row));
      RunRow(&rows_.back());
      Report();
    }
  }
  return all_ran && !rows_.empty();
}

// Takes the maximum over three runs: the peak varies with how fast a concurrent GC collects.
void Sweep::FindPeak(Row* row) const {
  for (int i = 0; i < 3; ++i) {
    const TemporaryFile file(".json");
    std::vector<std::string> arguments{"run", "--summary", file.path()};
    arguments.push_back(ProgramPath(row->runtime, row->sample->program));
    arguments.insert(arguments.end(), row->sample->arguments.begin(), row->sample->arguments.end());
    const ProcessResult run = RunProcessWith(Process(*row->sample), settings_.clrmem, arguments);
    if (run.timed_out || !file.exists()) {
      throw std::runtime_error("without a limit it says: " + run.out + run.error);
    }
    if (i != 0 && run.exit_code != row->exit_code) throw std::runtime_error("its exit code differs");
    row->exit_code = run.exit_code;
    const auto summary = nlohmann::json::parse(file.Read());
    row->peak = std::max(row->peak, summary["memory"]["peak_charged_bytes"].get<std::uint64_t>());
  }
}

void Sweep::RunRow(Row* row) {
  for (const int percent : settings_.percents) {
    Cell cell;
    cell.percent = percent;
    // Whole pages, as the manager rounds its limit in any case.
    cell.limit = (row->peak * static_cast<std::uint64_t>(percent) / 100 + 4095) / 4096 * 4096;
    row->cells.push_back(std::move(cell));
  }
  std::vector<std::function<void()>> runs;
  for (Cell& cell : row->cells) {
    for (int i = 0; i < settings_.repeats; ++i) {
      runs.push_back([this, row, &cell] { RunUnder(row, &cell, false); });
      runs.push_back([this, row, &cell] { RunUnder(row, &cell, true); });
    }
  }
  std::atomic<std::size_t> next{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < settings_.jobs; ++i) {
    threads.emplace_back([&] {
      for (std::size_t at = next++; at < runs.size(); at = next++) runs[at]();
    });
  }
}

void Sweep::RunUnder(Row* row, Cell* cell, bool hard_limit) {
  ProcessSettings process = Process(*row->sample);
  std::vector<std::string> arguments{"run"};
  if (hard_limit) {
    arguments.emplace_back("--no-bridge");
    process.environment["DOTNET_GCHeapHardLimit"] = Hex(cell->limit);
  } else {
    arguments.insert(arguments.end(), {"--limit", std::to_string(cell->limit)});
    arguments.insert(arguments.end(), settings_.options.begin(), settings_.options.end());
  }
  arguments.push_back(ProgramPath(row->runtime, row->sample->program));
  arguments.insert(arguments.end(), row->sample->arguments.begin(), row->sample->arguments.end());
  ProcessResult result = RunProcessWith(process, settings_.clrmem, arguments);
  const Ending ending = EndingOf(result, {row->exit_code});
  const std::lock_guard lock(mutex_);
  (hard_limit ? cell->hard_limit : cell->ours).Add(ending, std::move(result));
}

bool Sweep::AnyWorse() const {
  return std::any_of(rows_.begin(), rows_.end(), [](const Row& row) {
    return std::any_of(row.cells.begin(), row.cells.end(), [](const Cell& cell) { return cell.IsWorse(); });
  });
}

std::string Sweep::Table() const {
  std::ostringstream text;
  int better = 0;
  int equal = 0;
  int worse = 0;
  int hard_limit_passes = 0;
  const char* framework = "";
  for (const Row& row : rows_) {
    if (std::string(framework) != row.runtime.framework) {
      framework = row.runtime.framework;
      text << "\n### .NET " << row.runtime.version << "\n\n| program | peak |";
      for (const int percent : settings_.percents) text << " " << percent << " % |";
      text << "\n|---|---|";
      for (std::size_t i = 0; i < settings_.percents.size(); ++i) text << "---|";
      text << "\n";
    }
    text << "| " << row.sample->name << " | " << FormatSize(row.peak) << " |";
    for (const Cell& cell : row.cells) {
      const std::string mark = cell.IsWorse() ? "**" : "";
      text << " " << mark << EndingName(*cell.ours.ending) << " / " << EndingName(*cell.hard_limit.ending) << mark
           << " |";
      better += cell.IsBetter() ? 1 : 0;
      worse += cell.IsWorse() ? 1 : 0;
      equal += cell.IsBetter() || cell.IsWorse() ? 0 : 1;
      hard_limit_passes += cell.hard_limit.ending == Ending::kPasses ? 1 : 0;
    }
    text << "\n";
  }
  std::ostringstream head;
  head << "# The limit sweep\n\n"
       << "This page shows how each sample program ends under a limit of 30 to 100 % of its peak. The peak is the most "
          "that the\n"
       << "manager has on account when there is no limit. Written by `cmake -P cmake/sweep.cmake`"
       << (IsWine() ? ", under Wine" : "") << "; the samples'\n"
       << "arguments stand beside their names.\n\n"
       << "LoadAssemblies, NativeHeavy, CollectibleContexts and WebHello run with DOTNET_EnableWriteXorExecute=0 "
          "everywhere: with\n"
       << "W^X .NET 10 does not survive them under Wine 8, under any host.\n\n"
       << "The same size is a tighter bound for the manager's limit, which covers all that the CLR commits. The hard "
          "limit covers\n"
       << "the GC's heap alone. A program's code, types and native heaps are never refused under it.\n\n"
       << "The endings, best first:\n\n"
       << "- **passes**: as without a limit;\n"
       << "- **OOM**: a managed OutOfMemoryException, caught or not;\n"
       << "- **refused**: clrmem refuses at the start and names the least limit that is enough;\n"
       << "- **stopped**: the thrash guard stopped the program;\n"
       << "- **no start**: the runtime gave up while starting;\n"
       << "- **fails**: a fail-fast, a native exception;\n"
       << "- **hangs**: for " << settings_.timeout.count() << " seconds.\n\n"
       << "Each cell: the worst of " << settings_.repeats << " runs under `clrmem run --limit` / the worst of "
       << settings_.repeats << " under `DOTNET_GCHeapHardLimit` of the same\n"
       << "size. Of " << better + equal + worse << " cells the limit ends **better in " << better << ", equal in "
       << equal << ", worse in " << worse << "**. In " << hard_limit_passes << " of them the hard limit passes,\n"
       << "and nothing can end better.\n";
  return head.str() + text.str();
}

std::string Sweep::Notes() const {
  std::ostringstream text;
  const auto say = [&](const char* what, const Worst& worst) {
    text << what << ": " << EndingName(*worst.ending) << ", exit code 0x" << Hex(worst.process.exit_code) << " after "
         << worst.process.elapsed.count() << " ms\n";
    constexpr std::size_t kTail = 1500;
    for (const std::string* stream : {&worst.process.out, &worst.process.error}) {
      const std::size_t from = stream->size() > kTail ? stream->size() - kTail : 0;
      text << "```\n" << stream->substr(from) << "```\n";
    }
  };
  for (const Row& row : rows_) {
    for (const Cell& cell : row.cells) {
      if (!cell.IsWorse()) continue;
      text << "## " << row.sample->name << ", .NET " << row.runtime.version << ", " << cell.percent << " %: --limit "
           << cell.limit << " (DOTNET_GCHeapHardLimit=" << Hex(cell.limit) << ")\n";
      say("ours", cell.ours);
      say("hard limit", cell.hard_limit);
      text << "\n";
    }
  }
  return text.str();
}

void Sweep::Report() const {
  const auto write = [](const std::string& file, const std::string& text) {
    if (file.empty()) return;
    std::ofstream stream(file, std::ios::binary);
    stream << text;
    if (!stream.flush()) throw std::runtime_error("cannot write " + file);
  };
  write(settings_.output, Table());
  write(settings_.notes, Notes());
  const Row& row = rows_.back();
  std::cout << row.sample->name << ", .NET " << row.runtime.version << ", peak " << FormatSize(row.peak) << ":";
  for (const Cell& cell : row.cells) {
    std::cout << "  " << cell.percent << "% " << EndingName(*cell.ours.ending) << "/"
              << EndingName(*cell.hard_limit.ending) << (cell.IsWorse() ? " WORSE" : "");
  }
  std::cout << std::endl;
}

int Main(const std::vector<std::string>& arguments) {
  try {
    Sweep sweep(ParseSettings(arguments));
    if (!sweep.Run()) return 1;
    return sweep.AnyWorse() ? 3 : 0;
  } catch (const std::exception& error) {
    std::cerr << "limit_sweep: " << error.what() << std::endl;
    return 1;
  }
}

}  // namespace
}  // namespace clrhm_test

int main(int argc, char** argv) { return clrhm_test::Main({argv + 1, argv + argc}); }
