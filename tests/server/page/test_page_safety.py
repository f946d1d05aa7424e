"""Hostile text stays text; the policy holds; Markdown is what it should be."""
import json

from raw_http import eventually

ATTACKS = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "[click](javascript:window.hacked=1)",
    "[click](JaVaScRiPt:window.hacked=1) [a](data:text/html,<script>window.hacked=1</script>) [b](//evil.example)",
    "![x](https://evil.example/track.png)",
    "<https://example.com/\"onmouseover=\"window.hacked=1>",
    "```html\n<svg onload=window.hacked=1>\n```",
    "[a](https://example.com/\"onclick=\"window.hacked=1)",
    "<style>*{display:none}</style><iframe src=https://evil.example></iframe>",
]


def test_attacks_are_inert_in_every_place_that_shows_text(chat):
    page = chat.page
    chat.ask("\n\n".join(ATTACKS))
    chat.page.evaluate(f"""(async () => {{
        const {{ toolCard }} = await import("./toolcalls.js");
        const {{ showTokens }} = await import("./tokens.js");
        const {{ errorCard }} = await import("./message.js");
        const text = {json.dumps(' '.join(ATTACKS))};
        const holder = document.createElement("div");
        document.getElementById("messages").append(holder, toolCard({{ id: text, name: text, arguments: text }}),
            errorCard({{ kind: "refused", message: text, param: text }}, {{}}));
        showTokens(holder, [{{ text, logprob: -1, top: [[text, -1]] }}]);
        holder.firstChild.focus();
    }})()""")
    assert page.evaluate("window.hacked") is None
    assert page.count("#messages :is(script, img, iframe, style, svg[onload], [onerror], [onmouseover], [onclick])") == 0
    assert page.evaluate("[...document.querySelectorAll('#messages a')].filter((a) => !/^https?:\\/\\//.test(a.href)).length") == 0
    assert "<script>window.hacked = 1</script>" in page.text(".message.assistant .body")


def test_policy_refuses_what_the_page_never_does(chat):
    page = chat.page
    outcome = page.evaluate("""(async () => {
        const outcome = [];
        try { document.body.appendChild(document.createElement("div")).innerHTML = "<b>x</b>"; outcome.push("innerHTML"); } catch {}
        try { eval("1"); outcome.push("eval"); } catch {}
        try { await fetch("https://evil.example/"); outcome.push("fetch"); } catch {}
        return outcome;
    })()""")
    assert outcome == []
    page.evaluate("console.error('no more')")  # what the browser has to say comes in order, and later than the answer
    assert eventually(lambda: page.evaluate("true") and "no more" in page.problems, within=20)
    assert any("content security policy" in text.lower() for text in page.problems)
    page.problems.clear()
    page.requests.clear()


MARKDOWN = [
    ("a **b** *c* `d`", "<p>a <strong>b</strong> <em>c</em> <code>d</code></p>"),
    ("**bold *both* bold**", "<p><strong>bold <em>both</em> bold</strong></p>"),
    ("**open", "<p>**open</p>"),
    ("2 * 3 * 4 and snake_case_name", "<p>2 * 3 * 4 and snake_case_name</p>"),
    ("`**not bold**` and ``a ` b``", "<p><code>**not bold**</code> and <code>a ` b</code></p>"),
    ("~~gone~~ \\*kept\\*", "<p><del>gone</del> *kept*</p>"),
    ("# A\n## B `x`", "<h3>A</h3><h4>B <code>x</code></h4>"),
    ("- a\n- b\n  - c\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
    ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    ("- a\n\n- b\n\ntext", "<ul><li>a</li><li>b</li></ul><p>text</p>"),
    ("> a\n> - b", "<blockquote><p>a</p><ul><li>b</li></ul></blockquote>"),
    ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
    ("1 < 2 & 3", "<p>1 &lt; 2 &amp; 3</p>"),
    ("line\nnext", "<p>line\nnext</p>"),
]


def test_markdown_becomes_these_nodes(workbench):
    for text, expected in MARKDOWN:
        html = workbench.evaluate(f"""(async () => {{
            const {{ showMarkdown }} = await import("./markdown.js");
            const element = document.createElement("div");
            showMarkdown(element, {json.dumps(text)});
            return element.innerHTML;
        }})()""")
        assert html == expected, text


def test_markdown_that_grows_ends_as_markdown_at_once(workbench):
    """The nodes for a whole text do not depend on where it was split while it came in."""
    differing = workbench.evaluate("""(async () => {
        const { showMarkdown } = await import("./markdown.js");
        const text = %s;
        const whole = document.createElement("div");
        showMarkdown(whole, text);
        const grown = document.createElement("div");
        for (let end = 1; end <= text.length; end++) showMarkdown(grown, text.slice(0, end));
        return whole.innerHTML === grown.innerHTML ? 0 : grown.innerHTML;
    })()""" % json.dumps("# T\n\ntext **b**\n\n- a\n- b\n\n  c\n\n```py\nx\n\ny\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> q\n\nend"))
    assert differing == 0


def test_hostile_markdown_takes_linear_time(workbench):
    for piece in ("[", "*a ", "**", "`", "``a`", "> ", "- ", "[a](", "#", "|", "~~~\n", "1. a\n  ", "_a", "https://a.", "\\", "[]("):
        milliseconds = workbench.evaluate(f"""(async () => {{
            const {{ showMarkdown }} = await import("./markdown.js");
            const text = {json.dumps(piece)}.repeat({50_000 // len(piece)});
            const start = performance.now();
            showMarkdown(document.createElement("div"), text);
            return performance.now() - start;
        }})()""")
        assert milliseconds < 2000, piece


def test_events_may_be_split_anywhere(workbench):
    wrong = workbench.evaluate("""(async () => {
        const { EventParser } = await import("./sse.js");
        const bytes = new TextEncoder().encode(": note\\r\\ndata: one é€𝄞\\r\\n\\r\\nevent: x\\ndata:two\\r\\ndata: three\\n\\ndata: four\\r\\rdata: cut");
        const expected = JSON.stringify(["one é€𝄞", "two\\nthree", "four"]);
        let wrong = 0;
        for (let a = 0; a <= bytes.length; a++) {
            for (let b = a; b <= bytes.length; b++) {
                const parser = new EventParser();
                const events = [bytes.slice(0, a), bytes.slice(a, b), bytes.slice(b)].flatMap((part) => parser.push(part));
                wrong += JSON.stringify(events) !== expected;
            }
        }
        return wrong;
    })()""")
    assert wrong == 0
