//! Whether a text is in the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::fingerprint::{Fingerprint, Fingerprinter, SHORTEST, STRETCH, WINDOW};
use crate::record::{Head, Record, Source};

/// Longest line that is read: more than that of the longest answer.
const MAX_LINE: u64 = 64 << 20;

/// Most matches that are told of.
const MAX_MATCHES: usize = 20;

/// Whether a text was produced here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The answers that are this text.
    pub whole: Vec<Source>,
    /// The answers that have a passage of it, the longest first.
    pub passages: Vec<Match>,
    /// Whether the text is so short that only a whole answer can be recognised.
    pub is_short: bool,
    /// Answers that were looked at.
    pub records: usize,
}

/// An answer that has a passage of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Where the answer came from.
    pub source: Source,
    /// Letters of the text that are in it.
    pub letters: usize,
    /// Letters of the text in all.
    pub of: usize,
}

/// Why nothing can be looked up.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no provenance log.
    #[error("{} cannot be used: {reason}", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is nothing to look for.
    #[error("the text has no letters or digits to look for")]
    Empty,
}

/// Looks a text up in the file at `path`.
///
/// # Errors
///
/// When the file cannot be read, or the text is empty.
pub fn verify(path: &Path, text: &str) -> Result<Verdict, VerifyError> {
    let io = |source| VerifyError::Io {
        path: path.to_owned(),
        source,
    };
    let mut reader = BufReader::new(File::open(path).map_err(io)?);
    let mut line = String::new();
    read_line(&mut reader, &mut line).map_err(io)?;
    let salt = Head::salt(line.trim_end()).map_err(|reason| VerifyError::NotALog {
        path: path.to_owned(),
        reason,
    })?;
    let mut fingerprinter = Fingerprinter::new(salt);
    fingerprinter.push(text);
    if fingerprinter.is_empty() {
        return Err(VerifyError::Empty);
    }
    let asked = fingerprinter.finish();
    let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
    for (place, hash) in &asked.passages {
        places.entry(*hash).or_default().push(*place);
    }
    let mut verdict = Verdict {
        is_short: asked.letters < SHORTEST,
        ..Verdict::default()
    };
    while read_line(&mut reader, &mut line).map_err(io)? {
        // A line that was torn is no answer.
        if let Some(record) = Record::of_line(line.trim_end()) {
            verdict.records += 1;
            verdict.compare(&asked, &places, record);
        }
    }
    Ok(verdict)
}

impl Verdict {
    fn compare(&mut self, asked: &Fingerprint, places: &HashMap<u64, Vec<usize>>, record: Record) {
        if (record.letters, record.whole) == (asked.letters, asked.whole) {
            if self.whole.len() < MAX_MATCHES {
                self.whole.push(record.source);
            }
            return;
        }
        let found = record.passages.iter().filter_map(|hash| places.get(hash));
        let letters = common_letters(found.flatten().copied());
        if letters == 0 {
            return;
        }
        let rank = self
            .passages
            .partition_point(|other| other.letters >= letters);
        let of = asked.letters;
        self.passages.insert(
            rank,
            Match {
                source: record.source,
                letters,
                of,
            },
        );
        self.passages.truncate(MAX_MATCHES);
    }
}

/// How many letters passages are that have hashes of the other text so close to each other that all
/// between them is the same; shorter ones, which chance may bring, do not count.
fn common_letters(found: impl Iterator<Item = usize>) -> usize {
    let mut found: Vec<usize> = found.collect();
    found.sort_unstable();
    found.dedup();
    let mut passages: Vec<Range<usize>> = Vec::new();
    for begin in found {
        let end = begin + STRETCH;
        match passages.last_mut() {
            // Of what is common, one of each window is kept.
            Some(last) if begin <= last.end - STRETCH + WINDOW => last.end = end,
            _ => passages.push(begin..end),
        }
    }
    let lengths = passages.iter().map(Range::len);
    // Two hashes at least: one stretch may be a saying.
    lengths.filter(|length| *length > STRETCH).sum()
}

/// Reads a line into `line`; false at the end. One that is too long is given in part.
fn read_line(reader: &mut BufReader<File>, line: &mut String) -> std::io::Result<bool> {
    let mut bytes = Vec::new();
    let read = Read::take(&mut *reader, MAX_LINE).read_until(b'\n', &mut bytes)?;
    *line = String::from_utf8_lossy(&bytes).into_owned();
    Ok(read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProvenanceLog;

    const ANSWER: &str = "Photosynthesis is the process by which green plants use sunlight to make \
        sugar from carbon dioxide and water. It takes place in the chloroplasts, whose chlorophyll \
        absorbs red and blue light. Oxygen is set free as a by-product, which nearly all animals \
        breathe. Without it the air of our planet would hold hardly any oxygen at all, and life as we \
        know it could not exist on land.";

    fn logged() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = ProvenanceLog::open(&path).unwrap();
        for (request, text) in [("a", ANSWER), ("b", "Paris.")] {
            let mut fingerprinter = Fingerprinter::new(log.salt());
            fingerprinter.push(text);
            let source = Source {
                request: request.to_owned(),
                ..Source::default()
            };
            log.write(Record::new(source, fingerprinter.finish()));
        }
        (folder, path)
    }

    #[test]
    fn the_whole_text_is_recognised_and_so_is_a_quoted_passage() {
        let (_folder, path) = logged();
        let found = verify(&path, ANSWER).unwrap();
        assert_eq!((found.whole.len(), found.records), (1, 2));
        let quoted = format!(
            "My neighbour told me this yesterday over the fence: “{}” I could hardly believe it, since he \
             never cared for plants before, as far as I know.",
            &ANSWER[40..290]
        );
        let found = verify(&path, &quoted).unwrap();
        assert!(found.whole.is_empty());
        assert_eq!(found.passages[0].source.request, "a");
        assert!(found.passages[0].letters > 120, "{found:?}");
        assert!(found.passages[0].letters < found.passages[0].of);
    }

    #[test]
    fn a_paraphrase_is_not() {
        let (_folder, path) = logged();
        let paraphrase = "Green plants turn carbon dioxide and water into sugar with the help of \
            sunlight, which is called photosynthesis. The chlorophyll in their chloroplasts takes up \
            blue and red light. A by-product is oxygen; almost every animal breathes it. There would \
            be next to none of it in the air otherwise, and no life on land as we know it.";
        let found = verify(&path, paraphrase).unwrap();
        assert_eq!((found.whole, found.passages), (Vec::new(), Vec::new()));
        assert!(!found.is_short);
    }

    #[test]
    fn a_sentence_of_the_shortest_length_is_found() {
        let (_folder, path) = logged();
        let letters: Vec<(usize, char)> = ANSWER
            .char_indices()
            .filter(|(_, it)| it.is_alphanumeric())
            .collect();
        for first in 0..letters.len() - SHORTEST {
            let sentence = &ANSWER[letters[first].0..letters[first + SHORTEST].0];
            let found = verify(&path, sentence).unwrap();
            assert_eq!(found.passages.len(), 1, "{sentence}");
            assert!(!found.is_short);
        }
    }

    /// What repeats itself is no more work than what does not.
    #[test]
    fn a_text_without_end_is_looked_up_in_an_answer_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = ProvenanceLog::open(&path).unwrap();
        let mut fingerprinter = Fingerprinter::new(log.salt());
        fingerprinter.push(&"ha".repeat(20_000));
        let record = Record::new(Source::default(), fingerprinter.finish());
        assert!(record.passages.len() <= 2, "{}", record.passages.len());
        log.write(record);
        drop(log);
        let found = verify(&path, &"ha".repeat(100_000)).unwrap();
        assert_eq!(found.passages[0].of, 200_000);
    }

    #[test]
    fn a_short_text_is_recognised_as_a_whole_only() {
        let (_folder, path) = logged();
        assert_eq!(verify(&path, "paris").unwrap().whole[0].request, "b");
        let found = verify(&path, "is the process by which").unwrap();
        assert!(found.is_short && found.whole.is_empty() && found.passages.is_empty());
        assert!(matches!(verify(&path, " ?! "), Err(VerifyError::Empty)));
    }
}
