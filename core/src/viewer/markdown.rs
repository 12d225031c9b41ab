//! Markdown as models write it, as HTML that can do nothing: HTML in it is text, pictures are links, and links lead
//! away without saying from where.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Renders a text.
pub(super) fn render(text: &str) -> Markup {
    let parser =
        Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS);
    let mut out = String::with_capacity(text.len() * 3 / 2);
    let mut in_head = false;
    for event in parser {
        match event {
            Event::Start(tag) => open(&tag, &mut in_head, &mut out),
            Event::End(tag) => close(tag, &mut in_head, &mut out),
            Event::Text(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text) => {
                push(&mut out, &text);
            }
            Event::Code(text) => {
                out.push_str("<code>");
                push(&mut out, &text);
                out.push_str("</code>");
            }
            Event::SoftBreak => out.push('\n'),
            Event::HardBreak => out.push_str("<br>"),
            Event::Rule => out.push_str("<hr>"),
            Event::TaskListMarker(done) => out.push_str(if done { "☑ " } else { "☐ " }),
            Event::FootnoteReference(name) => push(&mut out, &name),
        }
    }
    PreEscaped(out)
}

/// A text as it is.
pub(super) fn plain(text: &str) -> Markup {
    html! { pre.plain { (text) } }
}

fn push(out: &mut String, text: &str) {
    out.push_str(&html! { (text) }.into_string());
}

fn open(tag: &Tag<'_>, in_head: &mut bool, out: &mut String) {
    match tag {
        Tag::Heading { level, .. } => {
            // A page has its own headings above.
            let level = (*level as usize + 3).min(6);
            let _ = write!(out, "<h{level}>");
        }
        Tag::CodeBlock(kind) => {
            out.push_str("<pre class=\"code\">");
            if let CodeBlockKind::Fenced(language) = kind
                && !language.is_empty()
            {
                out.push_str("<span class=\"language\">");
                push(out, language);
                out.push_str("</span>");
            }
            out.push_str("<code>");
        }
        Tag::List(Some(first)) => {
            let _ = write!(out, "<ol start=\"{first}\">");
        }
        Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
            let is_image = matches!(tag, Tag::Image { .. });
            if dest_url.starts_with("https://") || dest_url.starts_with("http://") {
                let link =
                    html! { a href=(dest_url) rel="noopener noreferrer nofollow" target="_blank" title=(dest_url) {} };
                out.push_str(link.into_string().trim_end_matches("</a>"));
            } else {
                out.push_str("<a>");
            }
            out.push_str(if is_image { "🖼 " } else { "" });
        }
        Tag::TableHead => {
            *in_head = true;
            out.push_str("<thead><tr>");
        }
        Tag::TableCell => out.push_str(if *in_head { "<th>" } else { "<td>" }),
        Tag::Table(_) => out.push_str("<div class=\"scroll\"><table>"),
        other => {
            if let Some(name) = simple(other.to_end()) {
                let _ = write!(out, "<{name}>");
            }
        }
    }
}

fn close(tag: TagEnd, in_head: &mut bool, out: &mut String) {
    match tag {
        TagEnd::Heading(level) => {
            let _ = write!(out, "</h{}>", (level as usize + 3).min(6));
        }
        TagEnd::CodeBlock => out.push_str("</code></pre>"),
        TagEnd::List(true) => out.push_str("</ol>"),
        TagEnd::Link | TagEnd::Image => out.push_str("</a>"),
        TagEnd::TableHead => {
            *in_head = false;
            out.push_str("</tr></thead>");
        }
        TagEnd::TableCell => out.push_str(if *in_head { "</th>" } else { "</td>" }),
        TagEnd::Table => out.push_str("</table></div>"),
        other => {
            if let Some(name) = simple(other) {
                let _ = write!(out, "</{name}>");
            }
        }
    }
}

/// Elements without attributes.
fn simple(tag: TagEnd) -> Option<&'static str> {
    Some(match tag {
        TagEnd::Paragraph => "p",
        TagEnd::BlockQuote(_) => "blockquote",
        TagEnd::List(false) => "ul",
        TagEnd::Item => "li",
        TagEnd::TableRow => "tr",
        TagEnd::Emphasis => "em",
        TagEnd::Strong => "strong",
        TagEnd::Strikethrough => "del",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        let html =
            render("# A\n\n**b** _c_ `d<`\n\n- e\n\n1. f\n\n```rust\nlet x = \"<y>\";\n```\n\n| g |\n|---|\n| h |")
                .into_string();
        for piece in [
            "<h4>A</h4>",
            "<strong>b</strong> <em>c</em> <code>d&lt;</code>",
            "<ul><li>e</li></ul>",
            "<ol start=\"1\"><li>f</li></ol>",
            "<pre class=\"code\"><span class=\"language\">rust</span><code>let x = &quot;&lt;y&gt;&quot;;\n</code></pre>",
            "<thead><tr><th>g</th></tr></thead><tr><td>h</td></tr></table>",
        ] {
            assert!(html.contains(piece), "{piece} in {html}");
        }
    }

    #[test]
    fn it_can_do_nothing() {
        let html = render(
            "<b>x</b> <img src=x onerror=alert(1)> [a](javascript:alert(1)) [b](data:text/html,x) [f](//g.example)\n\n\
             ![c](https://evil.example/p.png) [d](https://a.example/\"onclick=\"alert(1)) <https://e.example>\n\n\
             <script>alert(1)</script>\n\n[r]: javascript:alert(1)\n[r]",
        )
        .into_string();
        for bad in ["<script", "<img", "<b>", "href=\"javascript:", "href=\"data:", "href=\"//", "\"onclick", " src=\""]
        {
            assert!(!html.contains(bad), "{bad}: {html}");
        }
        assert!(html.contains("<a href=\"https://evil.example/p.png\" rel=\"noopener noreferrer nofollow\""), "{html}");
    }
}
