//! Bytes behind their length, on a pipe.

use std::io::{self, Read, Write};

/// Longest message: a whole request body and what is added to it.
const MAX_LENGTH: u64 = 256 << 20;

/// Writes a message.
pub(crate) fn write(pipe: &mut impl Write, message: &[u8]) -> io::Result<()> {
    pipe.write_all(&(message.len() as u64).to_le_bytes())?;
    pipe.write_all(message)?;
    pipe.flush()
}

/// Reads a message; `None` at the end of the pipe. Grows with what comes, not with what is stated.
pub(crate) fn read(pipe: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 8];
    match pipe.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u64::from_le_bytes(length);
    if length > MAX_LENGTH {
        return Err(io::Error::other("a message is too long"));
    }
    let mut message = Vec::new();
    pipe.take(length).read_to_end(&mut message)?;
    match message.len() as u64 == length {
        true => Ok(Some(message)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_as_they_were_sent_and_half_a_message_is_none() {
        let mut pipe = Vec::new();
        for message in [&b"one"[..], b"", b"three"] {
            write(&mut pipe, message).unwrap();
        }
        let mut rest = &pipe[..];
        for expected in [&b"one"[..], b"", b"three"] {
            assert_eq!(read(&mut rest).unwrap().unwrap(), expected);
        }
        assert!(read(&mut rest).unwrap().is_none());
        assert!(read(&mut &pipe[..10]).is_err());
        assert!(read(&mut &[255; 20][..]).is_err());
    }
}
