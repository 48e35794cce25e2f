//! Numbers as benchmarks are given them: lists, and ranges in llama-bench's way.

/// Most numbers of one list.
const MAX: usize = 1000;

/// Several numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers(pub(super) Vec<usize>);

/// Reads `512`, `128,512`, `0-4096+1024` and `1-64*2`.
pub(super) fn numbers(text: &str) -> Result<Numbers, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        range(part.trim(), &mut all)?;
        if all.len() > MAX {
            return Err(format!("more than {MAX} numbers"));
        }
    }
    Ok(Numbers(all))
}

/// The same, each at least 1.
pub(super) fn positive_numbers(text: &str) -> Result<Numbers, String> {
    let numbers = numbers(text)?;
    match numbers.0.contains(&0) {
        true => Err("must be at least 1".to_owned()),
        false => Ok(numbers),
    }
}

fn range(text: &str, all: &mut Vec<usize>) -> Result<(), String> {
    let number = |text: &str| {
        text.parse::<usize>().map_err(|_| {
            format!("{text:?} is no number, nor a list as 1,8 or a range as 0-4096+1024 or 1-64*2")
        })
    };
    let Some((first, rest)) = text.split_once('-') else {
        all.push(number(text)?);
        return Ok(());
    };
    let (last, step) = match rest.find(['+', '*']) {
        Some(at) => (
            &rest[..at],
            Some((&rest[at..=at], number(&rest[at + 1..])?)),
        ),
        None => (rest, None),
    };
    let (mut next, last) = (number(first)?, number(last)?);
    if next > last {
        return Err(format!("{text:?} ends before it begins"));
    }
    while next <= last && all.len() <= MAX {
        all.push(next);
        let following = match step {
            None => next.checked_add(1),
            Some(("+", step)) => next.checked_add(step),
            Some((_, factor)) => next.checked_mul(factor),
        };
        match following {
            Some(following) if following > next => next = following,
            Some(_) => return Err(format!("{text:?} never ends")),
            None => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read() {
        let read = |text: &str| numbers(text).map(|numbers| numbers.0);
        assert_eq!(read("512"), Ok(vec![512]));
        assert_eq!(read("0, 8"), Ok(vec![0, 8]));
        assert_eq!(read("0-4096+2048,1"), Ok(vec![0, 2048, 4096, 1]));
        assert_eq!(read("1-9*2"), Ok(vec![1, 2, 4, 8]));
        assert_eq!(read("1-3"), Ok(vec![1, 2, 3]));
        for wrong in [
            "", "x", "3-1", "1-9+0", "1-9*1", "0-9*2", "1-5000", "-1", "1-", "1-2+",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(positive_numbers("0,1").is_err());
    }
}
