#include "cli/roofline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>

namespace kl::cli {
namespace {

constexpr double kWidth = 960, kHeight = 560;
constexpr double kLeft = 70, kRight = 640, kTop = 40, kBottom = 500;  // of the plot area
constexpr double kLegend = 664, kLine = 18;
constexpr const char* kColours[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e",
                                    "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22"};

/// Something that took time: `ops` in `seconds`, having touched `bytes`.
struct Point {
  double intensity, rate;
};

bool has_point(const Cost& cost) {
  return cost.seconds > 0 && cost.bytes > 0 && std::ranges::any_of(cost.ops, [](double ops) { return ops > 0; });
}

Point point_of(const Cost& cost) {
  double ops = 0;
  for (const double kind : cost.ops) ops += kind;
  return {ops / cost.bytes, ops / cost.seconds};
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

/// A logarithmic axis over whole decades.
struct Axis {
  double first = 0, last = 0;  // decades
  double from, to;             // where they lie in the picture

  void include(double value) {
    if (first == last) first = std::floor(std::log10(value)), last = first + 1;
    first = std::min(first, std::floor(std::log10(value)));
    last = std::max(last, std::ceil(std::log10(value)));
  }
  double at(double value) const { return from + (std::log10(value) - first) / (last - first) * (to - from); }
  double low() const { return std::pow(10, first); }
  double high() const { return std::pow(10, last); }
};

class Picture {
 public:
  explicit Picture(const BenchReport& report) : report_(report) {
    const double bandwidth = report.limits.read_bytes_per_second;
    for_each_roof([&](const char*, double peak) {
      y_.include(peak);
      x_.include(4 * peak / bandwidth);  // room for a flat roof
    });
    for_each_cost([&](std::size_t, const Cost& cost, bool) {
      const Point p = point_of(cost);
      x_.include(p.intensity);
      y_.include(p.rate);
    });
  }

  std::string svg() {
    svg_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
        "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        kWidth, kHeight);
    const int threads = report_.limits.threads;
    text(kLeft, 18, "start",
         fmt::format("{} ({}, {} thread{})", report_.model, report_.limits.isa, threads, threads == 1 ? "" : "s"));
    grid();
    roofs();
    points();
    return svg_ + "</svg>\n";
  }

 private:
  template <class F>
  void for_each_roof(F&& f) const {
    constexpr std::pair<Arithmetic, const char*> kRoofs[] = {
        {Arithmetic::kFma, "f32 FMA"}, {Arithmetic::kBf16Dot, "bf16 dot"}, {Arithmetic::kInt8, "int8"}};
    for (const auto& [kind, name] : kRoofs)
      if (report_.limits.peak(kind) > 0) f(name, report_.limits.peak(kind));
  }

  /// Calls f(test, cost, is the whole test) for every point of the picture.
  template <class F>
  void for_each_cost(F&& f) const {
    for (std::size_t i = 0; i < report_.results.size(); ++i) {
      const BenchResult& result = report_.results[i];
      for (const Cost& part : result.profile.parts)
        if (result.scheduling && has_point(part)) f(i, part, false);
      if (has_point(result.profile.total())) f(i, result.profile.total(), true);
    }
  }

  void text(double x, double y, const char* anchor, const std::string& what) {
    fmt::format_to(std::back_inserter(svg_), "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y,
                   anchor, escaped(what));
  }
  void line(double x1, double y1, double x2, double y2, const char* style) {
    fmt::format_to(std::back_inserter(svg_), "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1,
                   y1, x2, y2, style);
  }

  void grid() {
    constexpr const char* kThin = "stroke=\"#dddddd\"";
    for (double decade = x_.first; decade <= x_.last; ++decade) {
      const double x = x_.at(std::pow(10, decade));
      line(x, kTop, x, kBottom, kThin);
      text(x, kBottom + 18, "middle", fmt::format("{:g}", std::pow(10, decade)));
    }
    for (double decade = y_.first; decade <= y_.last; ++decade) {
      const double y = y_.at(std::pow(10, decade));
      line(kLeft, y, kRight, y, kThin);
      text(kLeft - 8, y + 4, "end", fmt::format("{:g}", std::pow(10, decade - 9)));
    }
    text((kLeft + kRight) / 2, kBottom + 42, "middle", "operations per byte");
    text(kLeft - 8, kTop - 12, "end", "Gop/s");
  }

  void roofs() {
    constexpr const char* kThick = "stroke=\"#333333\" stroke-width=\"2\"";
    const double bandwidth = report_.limits.read_bytes_per_second;
    double highest = 0;
    for_each_roof([&](const char* name, double peak) {
      highest = std::max(highest, peak);
      line(x_.at(peak / bandwidth), y_.at(peak), kRight, y_.at(peak), kThick);
      text(kRight - 4, y_.at(peak) - 5, "end", fmt::format("{} {:.0f}", name, peak / 1e9));
    });
    const double start = std::max(x_.low(), y_.low() / bandwidth);  // where the slope enters the picture
    const double x1 = x_.at(start), y1 = y_.at(start * bandwidth), x2 = x_.at(highest / bandwidth), y2 = y_.at(highest);
    line(x1, y1, x2, y2, kThick);
    fmt::format_to(std::back_inserter(svg_), "<g transform=\"translate({:.1f} {:.1f}) rotate({:.1f})\">\n", x1, y1,
                   std::atan2(y2 - y1, x2 - x1) * 180 / std::numbers::pi);
    text(30, -6, "start", fmt::format("read {:.1f} GB/s", bandwidth / 1e9));
    svg_ += "</g>\n";
  }

  void points() {
    for_each_cost([&](std::size_t test, const Cost& cost, bool whole) {
      const Point p = point_of(cost);
      const char* colour = kColours[test % std::size(kColours)];
      fmt::format_to(
          std::back_inserter(svg_),
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\" stroke=\"{}\"><title>{}</title></circle>\n",
          x_.at(p.intensity), y_.at(p.rate), whole ? 5 : 3.5, whole ? colour : "white", colour,
          title_of(test, cost, whole));
    });
    for (std::size_t i = 0; i < report_.results.size(); ++i) {
      const BenchResult& result = report_.results[i];
      const double y = kTop + 12 + kLine * static_cast<double>(i);
      fmt::format_to(std::back_inserter(svg_), "<circle cx=\"{}\" cy=\"{:.1f}\" r=\"5\" fill=\"{}\"/>\n", kLegend,
                     y - 4, kColours[i % std::size(kColours)]);
      text(kLegend + 12, y, "start",
           fmt::format("{}: {:.1f} tok/s, {:.0f} % of the limit", result.test, result.median(),
                       result.percent_of_limit()));
    }
    const bool has_rings = std::ranges::any_of(report_.results, [](const auto& r) { return r.scheduling.has_value(); });
    const double below = kTop + 12 + kLine * static_cast<double>(report_.results.size());
    if (has_rings) text(kLegend - 5, below, "start", "rings: parts of a test");
  }

  std::string title_of(std::size_t test, const Cost& cost, bool whole) const {
    const BenchResult& result = report_.results[test];
    if (whole) return result.test;
    const auto part = static_cast<std::size_t>(&cost - result.profile.parts.data());
    return fmt::format("{}: {}", result.test, name_of(static_cast<ModelPart>(part)));
  }

  const BenchReport& report_;
  Axis x_{.from = kLeft, .to = kRight};
  Axis y_{.from = kBottom, .to = kTop};
  std::string svg_;
};

}  // namespace

std::string roofline_svg(const BenchReport& report) { return Picture(report).svg(); }

}  // namespace kl::cli
