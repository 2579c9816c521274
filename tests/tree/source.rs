//! A source file as the tree test sees it: comments, string contents and test items blanked out.
//!
//! No full parser: a tokenizer that knows comments, literals, braces and paths is enough for rules that
//! speak of names and imports, and it needs no dependency. Blanking keeps line numbers.

use std::ops::Range;

/// One file under src/.
#[derive(Debug)]
pub struct Source {
    /// Path below src/, with `/`.
    pub path: String,
    /// Comments, literals and test items blanked.
    pub code: String,
    /// Comments and test items blanked, string literals kept.
    pub text: String,
    /// Comments and literals blanked, tests kept.
    pub code_with_tests: String,
    /// Modules declared with `#[cfg(test)] mod name;`: their files are tests.
    pub test_modules: Vec<String>,
    /// Lines of the file without its test items.
    pub lines: usize,
}

/// A path such as `std::time::Instant`, one per leaf of a `use` group.
#[derive(Debug, PartialEq, Eq)]
pub struct NamePath {
    /// Segments; a leading `crate` or chain of `super` that reaches the root is one `crate`.
    pub segments: Vec<String>,
    /// 1-based.
    pub line: usize,
    /// It stands in a `use` declaration.
    pub used: bool,
}

impl Source {
    /// Reads the text of `path`.
    pub fn new(path: &str, raw: &str) -> Self {
        let (code_with_tests, mut text) = (blanked(raw, true), blanked(raw, false));
        let mut code = code_with_tests.clone();
        let (mut test_modules, mut test_lines) = (Vec::new(), 0);
        for range in test_items(&code_with_tests) {
            let item = &code_with_tests[range.clone()];
            test_lines += item.matches('\n').count() + usize::from(!item.ends_with('\n'));
            let words: Vec<&str> = item.split_whitespace().collect();
            if let Some(at) = words.iter().position(|w| *w == "mod")
                && let Some(name) = words.get(at + 1).and_then(|w| w.strip_suffix(';'))
            {
                test_modules.push(name.to_owned());
            }
            for view in [&mut code, &mut text] {
                view.replace_range(range.clone(), &spaces(&view[range.clone()]));
            }
        }
        let lines = raw.lines().count().saturating_sub(test_lines);
        Self { path: path.to_owned(), code, text, code_with_tests, test_modules, lines }
    }

    /// Top-level module the file belongs to.
    pub fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Depth of the file's module below the crate root: 0 for lib.rs, 1 for flow/mod.rs.
    fn depth(&self) -> usize {
        let names: Vec<&str> = self.path.split('/').collect();
        match names.last() {
            Some(&("lib.rs" | "main.rs")) if names.len() == 1 => 0,
            Some(&"mod.rs") => names.len() - 1,
            _ => names.len(),
        }
    }

    /// Folder in which this file's child modules lie.
    pub fn children_folder(&self) -> String {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        match self.path.rsplit('/').next() {
            Some("lib.rs" | "main.rs" | "mod.rs") => folder.to_owned(),
            _ => self.path.trim_end_matches(".rs").to_owned(),
        }
    }

    /// All paths in the code outside tests.
    pub fn paths(&self) -> Vec<NamePath> {
        paths(&self.code, self.depth())
    }
}

fn spaces(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { "\n".to_owned() } else { " ".repeat(c.len_utf8()) }).collect()
}

/// Replaces comments by blanks, and the contents of literals too if asked.
fn blanked(raw: &str, literals: bool) -> String {
    let bytes = raw.as_bytes();
    let mut out = String::with_capacity(raw.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &raw[at..];
        let word_before = at > 0 && is_word(bytes[at - 1]);
        let (length, blank) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if rest.starts_with("/*") {
            (block_comment(rest), true)
        } else if let Some(length) = literal(rest).filter(|_| !word_before || rest.starts_with('"')) {
            (length, literals)
        } else {
            (rest.chars().next().map_or(1, char::len_utf8), false)
        };
        out.push_str(&if blank { spaces(&rest[..length]) } else { rest[..length].to_owned() });
        at += length;
    }
    out
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        if rest.as_bytes()[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.as_bytes()[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of the string, raw string or character literal that `rest` begins with.
fn literal(rest: &str) -> Option<usize> {
    let prefix = rest.bytes().take_while(|b| matches!(b, b'b' | b'c' | b'r')).count();
    let (raw, body) = (rest[..prefix].contains('r'), &rest[prefix..]);
    let hashes = body.bytes().take_while(|b| *b == b'#').count();
    if prefix <= 2 && raw && body[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = prefix + hashes + 1;
        return Some(rest[start..].find(&end).map_or(rest.len(), |i| start + i + end.len()));
    }
    let quote = body.bytes().next().filter(|b| matches!(b, b'"' | b'\'') && prefix <= 1 && !raw)?;
    let mut escaped = false;
    for (i, c) in body.char_indices().skip(1) {
        if c as u32 == u32::from(quote) && !escaped {
            return Some(prefix + i + 1);
        }
        // A lifetime: a quote, one character that is no escape, and no quote behind it.
        if quote == b'\'' && !escaped && i > 0 && !body[1..].starts_with('\\') && body[1..].chars().nth(1) != Some('\'')
        {
            return None;
        }
        escaped = c == '\\' && !escaped;
    }
    (quote == b'"').then_some(rest.len())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where items under `#[cfg(test)]` stand, attribute included, to the end of the item's line.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for marker in ["#[cfg(test)]", "#[cfg(all(test", "#![cfg(test)]"] {
        for (start, _) in code.match_indices(marker) {
            let inner = marker.starts_with("#!");
            found.push(start..if inner { code.len() } else { item_end(code, start) });
        }
    }
    found.sort_by_key(|r| r.start);
    let mut whole: Vec<Range<usize>> = Vec::new();
    for range in found {
        if whole.last().is_none_or(|last| range.start >= last.end) {
            whole.push(range);
        }
    }
    whole
}

fn item_end(code: &str, start: usize) -> usize {
    let bytes = code.as_bytes();
    let (mut at, mut depth, mut is_use) = (start, 0i32, false);
    while at < bytes.len() {
        match bytes[at] {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth < 0 {
                    return at;
                }
                if depth == 0 && !is_use {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            b'u' if depth == 0 && code[at..].starts_with("use ") && !is_word(bytes[at - 1]) => is_use = true,
            _ => {}
        }
        at += 1;
    }
    code.len()
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Colons,
    Mark(u8),
}

#[derive(Debug)]
struct Placed<'a> {
    token: Token<'a>,
    line: usize,
    /// Inline modules around it.
    inline: usize,
    used: bool,
}

fn tokens(code: &str) -> Vec<Placed<'_>> {
    let bytes = code.as_bytes();
    let mut out: Vec<Placed<'_>> = Vec::new();
    let (mut at, mut line, mut braces, mut used) = (0, 1, 0usize, false);
    let mut inline: Vec<usize> = Vec::new();
    while at < bytes.len() {
        let start = at;
        let token = if is_word(bytes[at]) {
            while at < bytes.len() && is_word(bytes[at]) {
                at += 1;
            }
            Token::Word(&code[start..at])
        } else if bytes[at..].starts_with(b"::") {
            at += 2;
            Token::Colons
        } else {
            at += 1;
            if bytes[start] == b'\n' {
                line += 1;
            }
            if bytes[start].is_ascii_whitespace() {
                continue;
            }
            Token::Mark(bytes[start])
        };
        match &token {
            Token::Word("use") => used = true,
            Token::Mark(b';') => used = false,
            Token::Mark(b'{') => {
                let of_module = matches!(&out[..], [.., Placed { token: Token::Word("mod"), .. }, _]);
                if of_module {
                    inline.push(braces);
                }
                braces += 1;
            }
            Token::Mark(b'}') => {
                braces = braces.saturating_sub(1);
                if inline.last() == Some(&braces) {
                    inline.pop();
                }
            }
            _ => {}
        }
        out.push(Placed { token, line, inline: inline.len(), used });
    }
    out
}

/// Words of the code with their lines.
pub fn words(code: &str) -> Vec<(&str, usize)> {
    let placed = tokens(code).into_iter().map(|p| (p.token, p.line));
    placed.filter_map(|(token, line)| if let Token::Word(word) = token { Some((word, line)) } else { None }).collect()
}

/// Words that a definition gives a name with (`fn x`, `struct X`, `let x`, field or parameter `x:`), with
/// the word before it.
pub fn definitions(code: &str) -> Vec<(String, String, usize)> {
    const KEYWORDS: [&str; 11] =
        ["fn", "struct", "enum", "trait", "mod", "type", "const", "static", "let", "mut", "union"];
    let tokens = tokens(code);
    let mut out = Vec::new();
    for (i, placed) in tokens.iter().enumerate() {
        let Token::Word(name) = placed.token else { continue };
        let before = match i.checked_sub(1).map(|b| &tokens[b].token) {
            Some(Token::Word(word)) => word,
            _ => "",
        };
        let field = matches!(tokens.get(i + 1), Some(Placed { token: Token::Mark(b':'), .. }));
        if KEYWORDS.contains(&before) || field {
            out.push((before.to_owned(), name.to_owned(), placed.line));
        }
    }
    out
}

fn paths(code: &str, depth: usize) -> Vec<NamePath> {
    let tokens = tokens(code);
    let mut out = Vec::new();
    for (i, placed) in tokens.iter().enumerate() {
        let before = i.checked_sub(1).map(|b| &tokens[b].token);
        let inside = match before {
            Some(Token::Mark(b'.')) => true,
            // A leading `::` begins a path, one behind a name or `>` goes on with it.
            Some(Token::Colons) => match i.checked_sub(2).map(|b| &tokens[b].token) {
                Some(Token::Word(word)) => *word != "use",
                token => token == Some(&Token::Mark(b'>')),
            },
            // A member of a group is read with its prefix.
            _ => in_group(&tokens, i),
        };
        if matches!(placed.token, Token::Word(_)) && !inside {
            let mut found = Vec::new();
            read_path(&tokens, i, &mut Vec::new(), &mut found);
            let root = depth + placed.inline;
            out.extend(found.into_iter().map(|segments| NamePath {
                segments: from_root(segments, root),
                line: placed.line,
                used: placed.used,
            }));
        }
    }
    out
}

/// True if the token stands inside the braces of `path::{..}`.
fn in_group(tokens: &[Placed<'_>], at: usize) -> bool {
    let mut depth = 0;
    for i in (0..at).rev() {
        match tokens[i].token {
            Token::Mark(b'}') => depth += 1,
            Token::Mark(b'{') if depth == 0 => {
                return i > 0 && tokens[i - 1].token == Token::Colons;
            }
            Token::Mark(b'{') => depth -= 1,
            Token::Mark(b';') => return false,
            _ => {}
        }
    }
    false
}

/// Reads a path from `at`, a group's members one by one; answers with the token behind it.
fn read_path(tokens: &[Placed<'_>], mut at: usize, prefix: &mut Vec<String>, out: &mut Vec<Vec<String>>) -> usize {
    let length = prefix.len();
    while let Some(Placed { token: Token::Word(word), .. }) = tokens.get(at) {
        prefix.push((*word).to_owned());
        at += 1;
        if !matches!(tokens.get(at), Some(Placed { token: Token::Colons, .. })) {
            break;
        }
        match tokens.get(at + 1).map(|p| &p.token) {
            Some(Token::Word(_)) => at += 1,
            Some(Token::Mark(b'{')) => {
                at += 2;
                while at < tokens.len() && tokens[at].token != Token::Mark(b'}') {
                    at = if matches!(tokens[at].token, Token::Word(_)) {
                        read_path(tokens, at, prefix, out)
                    } else {
                        at + 1
                    };
                }
                prefix.truncate(length);
                return at + 1;
            }
            _ => break,
        }
    }
    out.push(prefix.clone());
    prefix.truncate(length);
    // `as name` gives a new name, not a path.
    while matches!(tokens.get(at), Some(Placed { token: Token::Word(_), .. })) {
        at += 1;
    }
    at.max(1)
}

/// Turns `super` chains that reach the crate root into `crate`.
fn from_root(segments: Vec<String>, depth: usize) -> Vec<String> {
    let supers = segments.iter().take_while(|s| *s == "super").count();
    if supers > 0 && supers >= depth {
        let mut rooted = vec!["crate".to_owned()];
        rooted.extend(segments.into_iter().skip(supers));
        return rooted;
    }
    segments
}
