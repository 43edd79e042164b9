// The chart of the limit sweep: a row for each program and runtime, a mark for each policy at the least total.
#include <algorithm>
#include <cmath>
#include <sstream>

#include "benchmark/sweep_result.h"

namespace clrhm_test {
namespace {

constexpr int kWidth = 900;
constexpr int kLeft = 290;  // of the plot; the labels stand before it
constexpr int kRight = kWidth - 30;
constexpr int kTop = 84;
constexpr int kRowHeight = 26;

// The colours differ for most readers with a colour vision deficiency. The shapes differ, too.
constexpr const char* kStyle = R"(<style>
  text { font: 12px sans-serif; fill: #24292f; }
  .title { font-size: 15px; font-weight: bold; }
  .back { fill: #ffffff; }
  .grid { stroke: #d0d7de; }
  .a { fill: #0058a3; } .b { fill: #b35900; } .c { fill: #00795c; } .d { fill: #a8428a; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .back { fill: #0d1117; }
    .grid { stroke: #30363d; }
    .a { fill: #58b0f0; } .b { fill: #f0a030; } .c { fill: #3ecf9e; } .d { fill: #ec8fcb; }
  }
</style>
)";

double PercentOf(const Row& row, const Trial& trial) {
  return 100 * static_cast<double>(trial.total) / static_cast<double>(row.total);
}

struct Axis {
  int from = 0;  // percent
  int to = 100;

  [[nodiscard]] double X(double percent) const { return kLeft + (kRight - kLeft) * (percent - from) / (to - from); }
};

Axis AxisOf(const std::vector<Row>& rows) {
  double least = 90;  // of the axis, at least
  double most = 100;
  for (const Row& row : rows) {
    for (const Cell& cell : row.cells) {
      const Trial* trial = cell.Least();
      if (trial == nullptr || row.total == 0) continue;
      least = std::min(least, PercentOf(row, *trial));
      most = std::max(most, PercentOf(row, *trial));
    }
  }
  return {static_cast<int>(std::floor(least / 10)) * 10, static_cast<int>(std::ceil(most / 10)) * 10};
}

// Adds the mark of a policy at (x, y): a disc, a square, a diamond, a triangle. Text is shown on hover.
void AddMark(std::ostringstream& chart, std::size_t policy, double x, double y, const std::string& text) {
  chart << "<g class=\"" << kPolicies[policy].letter << "\" transform=\"translate(" << x << " " << y << ")\">";
  switch (policy) {
    case kLimit: chart << "<circle r=\"4.5\"/>"; break;
    case kHardLimit: chart << "<path d=\"M-3.5-3.5h7v7h-7z\"/>"; break;
    case kHardLimitConserving: chart << "<path d=\"M0-5 5 0 0 5-5 0z\"/>"; break;
    default: chart << "<path d=\"M0-4.5 4.5 3.5h-9z\"/>"; break;
  }
  chart << "<title>" << text << "</title></g>\n";
}

std::string Label(const Row& row) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  text.precision(1);
  text << row.program << ", " << row.runtime << ": " << static_cast<double>(row.total) / (1 << 20) << " MiB";
  return text.str();
}

}  // namespace

std::string SweepChart(const std::vector<Row>& rows) {
  const Axis axis = AxisOf(rows);
  const int bottom = kTop + kRowHeight * static_cast<int>(rows.size());
  std::ostringstream chart;
  chart << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << kWidth << " " << bottom + 32
        << "\" role=\"img\">\n"
        << kStyle << "<rect class=\"back\" width=\"100%\" height=\"100%\"/>\n"
        << "<text class=\"title\" x=\"16\" y=\"24\">Least total with which a program passes, in percent of its total "
           "without a limit</text>\n";
  double legend = 22;
  for (std::size_t policy = 0; policy < kPolicies.size(); ++policy) {
    const std::string name = std::string("(") + kPolicies[policy].letter + ") " + kPolicies[policy].name;
    AddMark(chart, policy, legend, 46, name);
    chart << "<text x=\"" << legend + 10 << "\" y=\"50\">" << name << "</text>\n";
    legend += 36 + 7 * static_cast<double>(name.size());
  }
  for (int percent = axis.from; percent <= axis.to; percent += 10) {
    chart << "<path class=\"grid\" d=\"M" << axis.X(percent) << " " << kTop - 6 << "V" << bottom << "\"/>\n"
          << "<text text-anchor=\"middle\" x=\"" << axis.X(percent) << "\" y=\"" << kTop - 10 << "\">" << percent
          << " %</text>\n";
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    const double y = kTop + kRowHeight * (static_cast<double>(i) + 0.5);
    chart << "<path class=\"grid\" d=\"M16 " << y + kRowHeight / 2 << "H" << kRight << "\"/>\n"
          << "<text text-anchor=\"end\" x=\"" << kLeft - 12 << "\" y=\"" << y + 4 << "\">" << Label(row) << "</text>\n";
    for (std::size_t policy = 0; policy < kPolicies.size(); ++policy) {
      const Trial* trial = row.cells[policy].Least();
      if (trial == nullptr || row.total == 0) continue;
      std::ostringstream text;
      text << "(" << kPolicies[policy].letter << ") " << trial->total << " bytes";
      // Marks of one row are a few pixels apart in height, so that equal totals stay visible.
      AddMark(chart, policy, axis.X(PercentOf(row, *trial)), y - 6 + 4 * static_cast<double>(policy), text.str());
    }
  }
  chart << "<text x=\"16\" y=\"" << bottom + 20
        << "\">A label has the total without a limit. Further left is better.</text>\n</svg>\n";
  return chart.str();
}

}  // namespace clrhm_test
