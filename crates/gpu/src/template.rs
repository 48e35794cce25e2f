//! Shaders that are written once for several types and sizes.
//!
//! A line that begins with `#` is for this file: `#if FLAG … #else … #end` keeps lines, `#for i COUNT …
//! #end` repeats them, and `${NAME}` anywhere stands for a value. Loops over what an invocation keeps
//! in registers are unrolled here, because not every driver unrolls loops over arrays, and an array
//! that is not unrolled lies in memory.

use std::collections::BTreeMap;

/// What a shader is filled in with.
#[derive(Default)]
pub(crate) struct Template {
    values: BTreeMap<String, String>,
    flags: Vec<&'static str>,
}

impl Template {
    /// `${name}` stands for `value`; `#for i name` repeats that often, if it is a number.
    pub(crate) fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.values.insert(name.to_owned(), value.to_string());
        self
    }

    /// `#if flag` is true.
    pub(crate) fn flag(mut self, flag: &'static str) -> Self {
        self.flags.push(flag);
        self
    }

    /// The filled-in shader.
    ///
    /// # Panics
    /// The source names a value that is not set, or its blocks do not close: bugs in a shader.
    pub(crate) fn expand(mut self, source: &str) -> String {
        let lines: Vec<&str> = source.lines().collect();
        let mut out = String::with_capacity(2 * source.len());
        self.block(&lines, &mut out);
        out
    }

    fn block(&mut self, lines: &[&str], out: &mut String) {
        let mut at = 0;
        while at < lines.len() {
            let words: Vec<&str> = lines[at].split_whitespace().collect();
            match words.as_slice() {
                ["#if", flag] => {
                    let (middle, end) = close(lines, at);
                    let kept = if self.flags.contains(flag) {
                        &lines[at + 1..middle]
                    } else {
                        &lines[end.min(middle + 1)..end]
                    };
                    self.block(kept, out);
                    at = end;
                }
                ["#for", variable, count] => {
                    let (_, end) = close(lines, at);
                    let times: usize = self.value(count).parse().unwrap_or_else(|_| {
                        panic!("{count} is no number of repetitions");
                    });
                    for i in 0..times {
                        self.values.insert((*variable).to_owned(), i.to_string());
                        self.block(&lines[at + 1..end], out);
                    }
                    self.values.remove(*variable);
                    at = end;
                }
                _ => {
                    self.line(lines[at], out);
                    out.push('\n');
                }
            }
            at += 1;
        }
    }

    fn line(&self, line: &str, out: &mut String) {
        let mut parts = line.split("${");
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let Some((name, rest)) = part.split_once('}') else {
                panic!("a name without its end in {line}");
            };
            out.push_str(self.value(name));
            out.push_str(rest);
        }
    }

    fn value(&self, name: &str) -> &str {
        self.values
            .get(name)
            .unwrap_or_else(|| panic!("the shader's {name} has no value"))
    }
}

/// Where the block that opens at `lines[open]` has its `#else` (its end if it has none), and its end.
fn close(lines: &[&str], open: usize) -> (usize, usize) {
    let mut depth = 0;
    let mut middle = None;
    for (at, line) in lines.iter().enumerate().skip(open) {
        match line.split_whitespace().next() {
            Some("#if" | "#for") => depth += 1,
            Some("#else") if depth == 1 => middle = Some(at),
            Some("#end") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (middle.unwrap_or(at), at);
        }
    }
    panic!("the block {} does not end", lines[open]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_repeated_and_filled_in() {
        let conditions = "a ${N}\n#if X\nx\n#else\n#if Y\ny\n#else\nz\n#end\n#end\n";
        let source = format!("{conditions}#for i N\n#for j M\n${{i}}${{j}}\n#end\n#end");
        let expanded = |flag| {
            let template = Template::default().set("N", 2).set("M", 2).flag(flag);
            template.expand(&source)
        };
        let loops = "00\n01\n10\n11\n";
        assert_eq!(expanded("X"), format!("a 2\nx\n{loops}"));
        assert_eq!(expanded("Y"), format!("a 2\ny\n{loops}"));
        assert_eq!(expanded("W"), format!("a 2\nz\n{loops}"));
    }

    #[test]
    fn a_false_condition_without_an_alternative_leaves_nothing() {
        assert_eq!(Template::default().expand("#if X\nx\n#end\ny"), "y\n");
    }

    #[test]
    #[should_panic(expected = "the shader's N has no value")]
    fn a_missing_value_is_a_bug() {
        Template::default().expand("${N}");
    }
}
