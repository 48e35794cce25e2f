//! The places of sequences that wait for their first step: how many there are, whose, and how far back
//! in the line a new request of a client begins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::request::ClientId;

/// All places. Clones are of the same line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    sequences: usize,
    clients: HashMap<ClientId, Own>,
}

/// What one client has waiting.
#[derive(Debug, Default)]
struct Own {
    requests: usize,
    sequences: usize,
}

/// One sequence's place, given back on drop.
#[derive(Debug)]
pub(crate) struct QueueTicket {
    request: Arc<RequestTicket>,
}

/// A request's place among those of its client, given back with the last of its sequences'.
#[derive(Debug)]
struct RequestTicket {
    queue: Queue,
    client: ClientId,
}

/// A request that has been given places.
pub(crate) struct Queued {
    /// One for each of its sequences.
    pub(crate) tickets: Vec<QueueTicket>,
    /// Requests of the same client that were waiting already.
    pub(crate) waiting: usize,
}

impl Queue {
    /// Places for a request of `sequences`, or `None` where `max` wait already. One request may overshoot
    /// the limit, so that none is too large for an empty line. Where the line is full, who has less than
    /// an equal share of it gets in all the same, so that no client keeps another out.
    pub(crate) fn enter(&self, client: ClientId, sequences: usize, max: usize) -> Option<Queued> {
        let mut places = self.lock();
        let is_full = places.sequences >= max;
        let is_there = places.clients.contains_key(&client);
        let share = max / (places.clients.len() + usize::from(!is_there));
        let own = places.clients.entry(client).or_default();
        if is_full && own.sequences >= share.max(1) {
            return None;
        }
        let waiting = own.requests;
        own.requests += 1;
        own.sequences += sequences;
        places.sequences += sequences;
        drop(places);
        let request = Arc::new(RequestTicket {
            queue: self.clone(),
            client,
        });
        let ticket = |_| QueueTicket {
            request: Arc::clone(&request),
        };
        Some(Queued {
            tickets: (0..sequences).map(ticket).collect(),
            waiting,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for QueueTicket {
    fn drop(&mut self) {
        let mut places = self.request.queue.lock();
        places.sequences -= 1;
        if let Some(own) = places.clients.get_mut(&self.request.client) {
            own.sequences -= 1;
        }
    }
}

impl Drop for RequestTicket {
    fn drop(&mut self) {
        let mut places = self.queue.lock();
        if let Some(own) = places.clients.get_mut(&self.client) {
            own.requests -= 1;
            if own.requests == 0 {
                places.clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_line_refuses_who_is_in_it_and_nobody_else() {
        let (queue, me, other) = (Queue::default(), ClientId(1), ClientId(2));
        let first = queue.enter(me, 100, 4).unwrap();
        assert_eq!((first.waiting, first.tickets.len()), (0, 100));
        assert!(queue.enter(me, 1, 4).is_none());
        // Two of four are the other's, whatever the first has taken.
        let others = queue.enter(other, 1, 4).unwrap();
        let second = queue.enter(other, 1, 4).unwrap();
        assert_eq!(second.waiting, 1);
        assert!(queue.enter(other, 1, 4).is_none());
        drop(first);
        let third = queue.enter(other, 2, 4).unwrap();
        assert!(queue.enter(other, 1, 4).is_none());
        drop((others, second, third));
        assert!(queue.lock().clients.is_empty());
        assert_eq!(queue.lock().sequences, 0);
    }
}
