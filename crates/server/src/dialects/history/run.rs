//! Answers that are being written: what was streamed of each so far, for who listens and who comes
//! later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream;
use matou_history::Owner;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::asked::Target;
use crate::error::ApiError;
use crate::label::Label;
use crate::sse::{self, Framing};

/// How long what was streamed is there after the end: for who was away when it came.
const LINGER: Duration = Duration::from_secs(60);
/// Most bytes of answers that have ended and are there; the oldest go.
const MAX_LINGERING: usize = 32 << 20;
/// Answers of one owner that are written at a time: nobody need listen to them.
const MAX_RUNS: usize = 16;
/// Bytes that are sent at once to who comes late.
const PIECE: usize = 64 << 10;

/// The answers that are being written.
#[derive(Clone, Default)]
pub(crate) struct Runs(Arc<All>);

#[derive(Default)]
struct All {
    runs: Mutex<HashMap<Place, Arc<Run>>>,
    /// How many are being written.
    running: watch::Sender<usize>,
}

/// Whose answer it is, and its message.
type Place = (Owner, String);

/// An answer that is begun and of which there is no message yet: its model is being loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Pending {
    id: String,
    /// The message that it answers, or goes on with.
    parent: String,
    continues: bool,
}

/// An answer that is being written, or was a moment ago.
pub(super) struct Run {
    conversation: String,
    pending: Pending,
    began: Instant,
    written: Mutex<Written>,
    /// Told with each frame, and at the end.
    news: watch::Sender<()>,
    stop: Notify,
    /// What its head says of who wrote it.
    label: OnceLock<Label>,
}

#[derive(Default)]
struct Written {
    frames: Vec<Bytes>,
    bytes: usize,
    /// When it ended, if it has.
    ended: Option<Instant>,
}

/// The writing of an answer; it ends when this is dropped, however that comes about.
pub(super) struct Writing {
    runs: Runs,
    place: Place,
    run: Arc<Run>,
}

impl Runs {
    /// Begins to write an answer.
    ///
    /// # Errors
    ///
    /// When it is being written already, and when too many of its owner's are.
    pub(super) fn begin(
        &self,
        owner: &Owner,
        conversation: &str,
        message: &str,
        target: &Target,
    ) -> Result<Writing, ApiError> {
        let mut runs = self.lock();
        forget_old(&mut runs);
        let place = (owner.clone(), message.to_owned());
        if runs.get(&place).is_some_and(|run| !run.has_ended()) {
            let message = "This answer is being written already.";
            return Err(ApiError::overloaded(message, Duration::from_secs(1)));
        }
        let own = |((of, _), run): &(&Place, &Arc<Run>)| of == owner && !run.has_ended();
        if runs.iter().filter(own).count() >= MAX_RUNS {
            let message = format!("{MAX_RUNS} of your answers are being written; wait for one.");
            return Err(ApiError::overloaded(message, Duration::from_secs(1)));
        }
        let run = Arc::new(Run {
            conversation: conversation.to_owned(),
            pending: Pending {
                id: message.to_owned(),
                parent: target.id().to_owned(),
                continues: matches!(target, Target::GoesOn(_)),
            },
            began: Instant::now(),
            written: Mutex::default(),
            news: watch::Sender::new(()),
            stop: Notify::new(),
            label: OnceLock::new(),
        });
        runs.insert(place.clone(), Arc::clone(&run));
        self.0.running.send_modify(|running| *running += 1);
        let runs = self.clone();
        Ok(Writing { runs, place, run })
    }

    /// An answer that is being written, or was a moment ago.
    pub(super) fn get(&self, owner: &Owner, message: &str) -> Option<Arc<Run>> {
        let mut runs = self.lock();
        forget_old(&mut runs);
        runs.get(&(owner.clone(), message.to_owned())).cloned()
    }

    /// The messages of an owner that are being written.
    pub(super) fn running(&self, owner: &Owner) -> Vec<String> {
        let runs = self.lock();
        let own = runs
            .iter()
            .filter(|((of, _), run)| of == owner && !run.has_ended());
        own.map(|((_, message), _)| message.clone()).collect()
    }

    /// The answers of a conversation that are begun and have no message yet.
    pub(super) fn pending(&self, owner: &Owner, conversation: &str) -> Vec<Pending> {
        let runs = self.lock();
        let own = runs.iter().filter(|((of, _), run)| {
            of == owner && run.conversation == conversation && run.is_unborn()
        });
        own.map(|(_, run)| run.pending.clone()).collect()
    }

    /// Ends an answer that is being written; false if none is.
    pub(super) fn stop(&self, owner: &Owner, message: &str) -> bool {
        let run = self.get(owner, message).filter(|run| !run.has_ended());
        run.map(|run| run.stop.notify_one()).is_some()
    }

    /// Ends and forgets the answers of a conversation, or of all of an owner's, that `is_gone` says are
    /// deleted.
    pub(super) fn forget(
        &self,
        owner: &Owner,
        conversation: Option<&str>,
        is_gone: impl Fn(&str) -> bool,
    ) {
        self.lock().retain(|(of, message), run| {
            let is_of = of == owner && conversation.is_none_or(|id| id == run.conversation);
            let is_forgotten = is_of && is_gone(message);
            if is_forgotten {
                run.stop.notify_one();
            }
            !is_forgotten
        });
    }

    /// Resolves when no answer is being written.
    pub(crate) async fn idle(&self) {
        let mut running = self.0.running.subscribe();
        // An error would mean that the sender is gone, which this holds.
        let _ = running.wait_for(|running| *running == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Arc<Run>>> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets answers that ended long ago, and of the others the oldest if they take too much.
fn forget_old(runs: &mut HashMap<Place, Arc<Run>>) {
    let now = Instant::now();
    runs.retain(|_, run| {
        let ended = run.lock().ended;
        ended.is_none_or(|ended| now.saturating_duration_since(ended) < LINGER)
    });
    let ended = runs.iter().filter_map(|(place, run)| {
        let written = run.lock();
        Some((written.ended?, written.bytes, place.clone()))
    });
    let mut ended: Vec<_> = ended.collect();
    let mut bytes: usize = ended.iter().map(|(_, bytes, _)| bytes).sum();
    ended.sort_by_key(|(ended, ..)| *ended);
    for (_, own, place) in ended {
        if bytes <= MAX_LINGERING {
            break;
        }
        bytes -= own;
        runs.remove(&place);
    }
}

impl Writing {
    /// The message that is written.
    pub(super) fn message(&self) -> &str {
        &self.place.1
    }

    /// Adds what is to be read next.
    pub(super) fn push(&self, frames: Bytes) {
        if !frames.is_empty() {
            let mut written = self.run.lock();
            written.bytes += frames.len();
            written.frames.push(frames);
            drop(written);
            self.run.news.send_replace(());
        }
    }

    /// How long ago it was asked for.
    pub(super) fn age(&self) -> Duration {
        self.run.began.elapsed()
    }

    /// Resolves when it is to end.
    pub(super) async fn stopped(&self) {
        self.run.stop.notified().await;
    }

    /// Says in the head of what listeners read who wrote it.
    pub(super) fn label(&self, label: Option<Label>) {
        label.map(|label| self.run.label.get_or_init(|| label));
    }

    /// What listeners read.
    pub(super) fn run(&self) -> Arc<Run> {
        Arc::clone(&self.run)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.run.lock().ended = Some(Instant::now());
        self.run.news.send_replace(());
        let mut runs = self.runs.lock();
        // What was never begun is not there for anybody.
        if self.run.lock().frames.is_empty() {
            runs.remove(&self.place);
        }
        forget_old(&mut runs);
        drop(runs);
        self.runs.0.running.send_modify(|running| *running -= 1);
    }
}

impl Run {
    fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    fn is_unborn(&self) -> bool {
        let written = self.lock();
        written.ended.is_none() && written.frames.is_empty()
    }

    /// Some of what there is from frame `from` on; `None` at the end. And where to go on.
    fn read(&self, from: usize) -> (Option<Bytes>, usize) {
        let written = self.lock();
        let mut frames = written.frames.get(from..).unwrap_or_default();
        let mut bytes = 0;
        let fits = |frame: &&Bytes| {
            bytes += frame.len();
            bytes <= PIECE
        };
        let count = frames.iter().take_while(fits).count();
        frames = &frames[..frames.len().min(count.max(1))];
        let bytes = match frames {
            [] if written.ended.is_some() => None,
            [one] => Some(one.clone()),
            several => Some(several.concat().into()),
        };
        (bytes, from + frames.len())
    }

    /// All of it from the beginning, as it comes.
    pub(super) fn follow(self: Arc<Self>, keep_alive: Duration) -> Response {
        let label = self.label.get().cloned();
        let mut response = sse::respond(self.body(keep_alive), Framing::Events);
        label.iter().for_each(|label| label.put_on(&mut response));
        response
    }

    fn body(self: Arc<Self>, keep_alive: Duration) -> Body {
        let news = self.news.subscribe();
        let frames = stream::unfold((self, news, 0), move |(run, mut news, from)| async move {
            loop {
                news.borrow_and_update();
                let (bytes, next) = run.read(from);
                let bytes = bytes?;
                if !bytes.is_empty() {
                    return Some((Ok::<_, std::convert::Infallible>(bytes), (run, news, next)));
                }
                // An error would mean that the run is gone; this holds it.
                if timeout(keep_alive, news.changed()).await.is_err() {
                    let comment = Bytes::from_static(sse::KEEP_ALIVE);
                    return Some((Ok(comment), (run, news, from)));
                }
            }
        });
        Body::from_stream(frames)
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner::new("me")
    }

    fn target() -> Target {
        Target::Answers("question".to_owned())
    }

    fn begin(runs: &Runs, message: &str) -> Result<Writing, ApiError> {
        runs.begin(&owner(), "c", message, &target())
    }

    async fn text(run: Arc<Run>) -> String {
        let body = run.body(Duration::from_secs(10));
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn who_comes_late_reads_all_of_it() {
        let runs = Runs::default();
        let writing = begin(&runs, "m").unwrap();
        assert_eq!(runs.pending(&owner(), "c").len(), 1);
        // Somebody waits for it from before it begins.
        let early = tokio::spawn(text(writing.run()));
        tokio::task::yield_now().await;
        writing.push("one ".into());
        assert!(runs.pending(&owner(), "c").is_empty(), "it has begun");
        tokio::task::yield_now().await;
        writing.push("two ".into());
        writing.push("three".into());
        assert!(begin(&runs, "m").is_err(), "it is being written");
        assert!(runs.get(&Owner::new("other"), "m").is_none());
        assert_eq!(runs.running(&owner()), ["m"]);
        drop(writing);
        assert_eq!(early.await.unwrap(), "one two three");
        let late = runs.get(&owner(), "m").unwrap();
        assert_eq!(text(late).await, "one two three");
        assert!(runs.running(&owner()).is_empty() && !runs.stop(&owner(), "m"));
        runs.idle().await;
        runs.forget(&owner(), Some("other"), |_| true);
        assert!(runs.get(&owner(), "m").is_some());
        runs.forget(&owner(), Some("c"), |_| true);
        assert!(runs.get(&owner(), "m").is_none());
    }

    #[tokio::test]
    async fn one_owner_has_some_answers_written_and_no_more() {
        let runs = Runs::default();
        let names: Vec<String> = (0..MAX_RUNS).map(|number| number.to_string()).collect();
        let begun = names.iter().map(|name| begin(&runs, name));
        let mut begun: Vec<Writing> = begun.collect::<Result<_, _>>().unwrap();
        assert!(begin(&runs, "more").is_err());
        assert!(
            runs.begin(&Owner::new("other"), "c", "more", &target())
                .is_ok()
        );
        assert!(runs.stop(&owner(), "0"));
        begun[0].stopped().await;
        // One that failed before it began leaves nothing behind.
        begun.remove(0);
        assert!(runs.get(&owner(), "0").is_none());
        assert!(begin(&runs, "more").is_ok());
    }

    #[tokio::test]
    async fn what_has_ended_takes_so_much_and_no_more() {
        let runs = Runs::default();
        for number in 0..5 {
            let writing = begin(&runs, &number.to_string()).unwrap();
            for _ in 0..10 {
                writing.push(vec![b'x'; 1 << 20].into());
            }
        }
        let there = (0..5).map(|number| runs.get(&owner(), &number.to_string()).is_some());
        assert_eq!(there.collect::<Vec<_>>(), [false, false, true, true, true]);
        let last = runs.get(&owner(), "4").unwrap();
        assert_eq!(text(last).await.len(), 10 << 20);
    }
}
