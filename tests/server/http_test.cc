// The parts of the HTTP layer that need no socket.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <string>

#include "server/http/access.h"
#include "server/http/http_exchange.h"
#include "server/http/request_body.h"
#include "server/http/request_head.h"
#include "server/http/router.h"
#include "server/http/text.h"

namespace kl {
namespace {

const HttpLimits kLimits;

/// What becomes of `text` when it arrives in pieces of the given size: status (0: more wanted), what was read, what is left.
struct Outcome {
  int status = 0;
  std::string method, path, body, rest;
  Headers headers;
  bool operator==(const Outcome&) const = default;
};

Outcome read_in_pieces(const std::string& text, std::size_t piece) {
  HeadReader head(kLimits);
  std::optional<BodyReader> body;
  Outcome outcome;
  std::string in;
  Reading reading = Reading::kMore;
  for (std::size_t at = 0; at < text.size() && outcome.status == 0; at += piece) {
    in += text.substr(at, piece);
    if (!body) {
      reading = head.read(in);
      if (reading == Reading::kRefused) outcome.status = head.refusal().status;
      if (reading == Reading::kDone) body.emplace(head.head(), 1000, kLimits);
    }
    if (body && outcome.status == 0) {
      reading = body->read(in, outcome.body);
      if (reading == Reading::kRefused) outcome.status = body->refusal().status;
      if (reading == Reading::kDone) {
        outcome.status = 200;
        outcome.rest = in + text.substr(std::min(at + piece, text.size()));
      }
    }
  }
  if (outcome.status == 200) {
    outcome.method = head.head().request.method;
    outcome.path = head.head().request.path;
    outcome.headers = head.head().request.headers;
  }
  return outcome;
}

TEST(Request, ReadsTheSameInPiecesOfAnySize) {
  const std::string head = "POST /a%20b?c=d HTTP/1.1\r\nHost: localhost\r\nX-A:  b \r\n";
  for (const std::string& text :
       {head + "Content-Length: 5\r\n\r\nhelloGET /",
        head + "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\nrest",
        head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n", head + "Content-Length: 1001\r\n\r\n",
        head + "a b\r\n\r\n", std::string("GET / HTTP/1.1\n\n"), head + " folded\r\n\r\n"}) {
    const Outcome whole = read_in_pieces(text, text.size());
    EXPECT_NE(whole.status, 0) << text;
    for (std::size_t piece = 1; piece < text.size(); ++piece)
      EXPECT_EQ(read_in_pieces(text, piece), whole) << text << piece;
  }
}

TEST(Request, RandomDamageIsNeverReadDifferentlyInPieces) {
  const std::string sound =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\nA;e\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
  const std::string alphabet("\r\n\0 \t:;,%aAfF09-+\x7f\xe9", 20);
  std::mt19937 random(1);
  for (int round = 0; round < 5000; ++round) {
    std::string text = sound;
    for (int change = static_cast<int>(random() % 3) + 1; change > 0; --change) {
      const std::size_t at = random() % text.size();
      const char letter = alphabet[random() % alphabet.size()];
      switch (random() % 3) {
        case 0:
          text[at] = letter;
          break;
        case 1:
          text.insert(at, 1, letter);
          break;
        default:
          text.erase(at, 1);
      }
    }
    const Outcome whole = read_in_pieces(text, text.size());
    EXPECT_EQ(read_in_pieces(text, 1), whole) << testing::PrintToString(text);
    EXPECT_EQ(read_in_pieces(text, 7), whole) << testing::PrintToString(text);
  }
}

TEST(Router, FindsPathsWithParts) {
  const Router router(
      {{"GET", "/a"}, {"POST", "/a"}, {"GET", "/m/{id...}"}, {"POST", "/s/{id}"}, {"GET", "/r/{id}/x"}});
  EXPECT_EQ(router.find("GET", "/a").route, &router.routes()[0]);
  EXPECT_EQ(router.find("HEAD", "/a").route, &router.routes()[0]);
  EXPECT_EQ(router.find("POST", "/a").route, &router.routes()[1]);
  EXPECT_EQ(router.find("PUT", "/a").allow, "GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(router.find("GET", "/m/org/name").route, &router.routes()[2]);
  EXPECT_EQ(router.find("GET", "/m/").allow, "");
  EXPECT_EQ(router.find("POST", "/s/7").route, &router.routes()[3]);
  EXPECT_EQ(router.find("POST", "/s/7/x").allow, "");
  EXPECT_EQ(router.find("GET", "/r/7/x").route, &router.routes()[4]);
  EXPECT_EQ(router.find("GET", "/r//x").allow, "");
  EXPECT_EQ(router.find("GET", "/a/").allow, "");
}

TEST(Text, PercentDecodingRefusesWhatIsNoByteOrNul) {
  EXPECT_EQ(percent_decoded("%41%7a%C3%A9"), "Az\u00e9");
  for (const char* bad : {"%", "%4", "%4g", "%g4", "%00", "a%"}) EXPECT_FALSE(percent_decoded(bad)) << bad;
}

TEST(Access, ComparesWholeTexts) {
  EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
  EXPECT_FALSE(equal_in_constant_time("abc", "abd"));
  EXPECT_FALSE(equal_in_constant_time("abc", "ab"));
  EXPECT_TRUE(equal_in_constant_time("", ""));
}

TEST(RequestLog, NeverWaitsAndSaysHowManyLinesAreLost) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);  // of this end alone: it is the other one that nobody may wait at
  const auto read_all = [&] {
    std::string text(1 << 20, '\0');
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::read(ends[0], text.data(), text.size()))));
    return text;
  };
  RequestLog::Sink sink = RequestLog::to_descriptor(ends[1]);
  const std::string line = std::string(1023, 'x') + '\n';
  const auto capacity = static_cast<std::size_t>(::fcntl(ends[1], F_GETPIPE_SZ));
  const std::size_t more_than_fit = capacity / line.size() + 3;
  const auto lines_lost = [&] {  // while nobody reads
    for (std::size_t i = 0; i < more_than_fit; ++i) sink(line);
    return more_than_fit - read_all().size() / line.size();
  };
  const auto confession = [](std::size_t lost) {
    return "kl: " + std::to_string(lost) + " lines are missing here, as nobody read them\n";
  };
  std::size_t lost = lines_lost();
  EXPECT_GE(lost, 3u);
  sink("next\n");
  EXPECT_EQ(read_all(), confession(lost) + "next\n");
  lost = lines_lost();
  sink = nullptr;  // the end
  EXPECT_EQ(read_all(), confession(lost));

  sink = RequestLog::to_descriptor(ends[0]);  // which cannot be written to
  sink("lost\n");
  sink = nullptr;
  ::close(ends[0]);
  ::close(ends[1]);
}

/// An exchange without a connection.
struct Wired {
  Metrics metrics;
  HttpContext context{{},         Router({}),
                      Access({}), RequestLog(LogFormat::kText, [](std::string_view) {}),
                      metrics,    [](const std::function<void()>& work) { work(); }};
  int wakes = 0;
  HttpExchange exchange{{}, {}, context, [this] { ++wakes; }};
};

TEST(HttpExchange, IsFullUntilItsQueueWasSent) {
  Wired wired;
  int drained = 0;
  wired.exchange.on_drained = [&] { ++drained; };
  wired.exchange.begin_stream("text/event-stream");
  EXPECT_FALSE(wired.exchange.is_full());
  wired.exchange.write(std::string(kLimits.queued_bytes, 'x'));
  EXPECT_TRUE(wired.exchange.is_full());
  const std::string bytes = wired.exchange.take_queue();
  EXPECT_NE(bytes.find("\r\n40000\r\nxxx"), bytes.npos);
  EXPECT_TRUE(wired.exchange.is_full());
  EXPECT_EQ(drained, 0);
  wired.exchange.sent();
  EXPECT_FALSE(wired.exchange.is_full());
  EXPECT_EQ(drained, 1);
  wired.exchange.end();
  EXPECT_EQ(wired.exchange.take_queue(), "0\r\n\r\n");
  wired.exchange.write("late");
  EXPECT_EQ(wired.exchange.take_queue(), "");
}

TEST(HttpExchange, TellsOnceThatTheClientHasGone) {
  Wired wired;
  int closed = 0;
  wired.exchange.on_closed = [&] { ++closed; };
  wired.exchange.begin_stream("text/event-stream");
  wired.exchange.lose_client();
  wired.exchange.lose_client();
  EXPECT_EQ(closed, 1);
  EXPECT_FALSE(wired.exchange.is_open());
  wired.exchange.write("x");
  wired.exchange.reply(200, "text/plain", "x");
}

TEST(HttpExchange, AnswersOnce) {
  Wired wired;
  wired.exchange.reply(200, "text/plain", "first");
  wired.exchange.reply(500, "text/plain", "second");
  wired.exchange.begin_stream("text/plain");
  const std::string bytes = wired.exchange.take_queue();
  EXPECT_NE(bytes.find("first"), bytes.npos);
  EXPECT_EQ(bytes.find("second"), bytes.npos);
  EXPECT_EQ(wired.exchange.status(), 200);
}

TEST(Metrics, HistogramsAreCumulative) {
  Histogram histogram({1, 2.5});
  histogram.observe(1);  // a bound belongs to its bucket
  histogram.observe(2, 3);
  histogram.observe(100);
  std::string text;
  histogram.write(text, "kl_x", "What x is.");
  EXPECT_EQ(text,
            "# HELP kl_x What x is.\n# TYPE kl_x histogram\nkl_x_bucket{le=\"1\"} 1\nkl_x_bucket{le=\"2.5\"} 4\n"
            "kl_x_bucket{le=\"+Inf\"} 5\nkl_x_sum 107\nkl_x_count 5\n");
}

TEST(Metrics, TellsWhatEndpointsSaid) {
  Metrics metrics;
  metrics.first_token(0.003);
  metrics.more_tokens(0.3, 3);
  metrics.finished({.reason = "stop", .tokens = {.prompt = 7, .generated = 4}, .seconds = 0.4});
  metrics.answered(200);
  EngineStats engine;
  engine.running = 2;
  engine.cache_bytes = 1;
  engine.cache_budget = 4;
  const std::string text = metrics.text(engine, true);
  for (const char* line :
       {"kl_num_requests_running 2\n", "kl_kv_cache_usage_perc 0.25\n",
        "kl_time_to_first_token_seconds_bucket{le=\"0.005\"} 1\n", "kl_inter_token_latency_seconds_count 3\n",
        "kl_request_success_total{finished_reason=\"stop\"} 1\n", "kl_request_prompt_tokens_sum 7\n",
        "kl_http_responses_total{status=\"200\"} 1\n", "kl_ready 1\n"}) {
    EXPECT_NE(text.find(line), text.npos) << line;
  }
}

}  // namespace
}  // namespace kl
