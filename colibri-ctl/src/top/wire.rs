//! What the two processes of `top` say to each other.

use libcolibri::wire::{Reader, Wire, WireError, Writer};

/// Longest text, in bytes.
pub const TEXT_MAX: usize = 1024;

/// A screen's size in columns and rows.
pub type Size = (u16, u16);

/// From the guard to the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToView {
    /// The terminal has this size, and shows nothing of ours: draw all of it.
    Draw(Size),
    /// The terminal is about to be given away: draw nothing until the next `Draw`, and say so.
    LetGo,
    /// A connection to colibrid; its descriptor comes with it.
    Connected,
    /// There is none yet, and why; it is tried again without being asked.
    Away(String),
}

/// From the view to the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToGuard {
    /// The connection is lost: another one, please.
    Connect,
    /// Stop this program: say [`ToView::LetGo`] first.
    Suspend,
    /// Nothing will be drawn until the next `Draw`.
    Released,
    /// It is over. A text is an error.
    End(String),
}

/// `text` as far as it fits into a message.
#[must_use]
pub fn short(text: &str) -> String {
    libcolibri::record::clip(text, TEXT_MAX).to_owned()
}

impl Wire for ToView {
    const MAX: usize = 4 + TEXT_MAX;

    fn kind(&self) -> u16 {
        match self {
            ToView::Draw(_) => 1,
            ToView::LetGo => 2,
            ToView::Connected => 3,
            ToView::Away(_) => 4,
        }
    }

    fn brings_fd(kind: u16) -> bool {
        kind == 3
    }

    fn put(&self, w: &mut Writer) {
        match self {
            ToView::Draw((columns, rows)) => {
                w.u32(u32::from(*columns));
                w.u32(u32::from(*rows));
            }
            ToView::LetGo | ToView::Connected => {}
            ToView::Away(why) => w.str(why),
        }
    }

    fn get(kind: u16, r: &mut Reader<'_>) -> Result<Self, WireError> {
        let size = |n: u32| u16::try_from(n).map_err(|_| WireError::Value("size"));
        Ok(match kind {
            1 => ToView::Draw((size(r.u32()?)?, size(r.u32()?)?)),
            2 => ToView::LetGo,
            3 => ToView::Connected,
            4 => ToView::Away(r.str(TEXT_MAX, "reason")?),
            kind => return Err(WireError::Kind(kind)),
        })
    }
}

impl Wire for ToGuard {
    const MAX: usize = 4 + TEXT_MAX;

    fn kind(&self) -> u16 {
        match self {
            ToGuard::Connect => 1,
            ToGuard::Suspend => 2,
            ToGuard::Released => 3,
            ToGuard::End(_) => 4,
        }
    }

    fn put(&self, w: &mut Writer) {
        if let ToGuard::End(error) = self {
            w.str(error);
        }
    }

    fn get(kind: u16, r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match kind {
            1 => ToGuard::Connect,
            2 => ToGuard::Suspend,
            3 => ToGuard::Released,
            4 => ToGuard::End(r.str(TEXT_MAX, "error")?),
            kind => return Err(WireError::Kind(kind)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcolibri::wire::{decode, encode, header, HEADER};

    fn there_and_back<M: Wire + std::fmt::Debug + PartialEq>(msg: M) {
        let mut bytes = Vec::new();
        encode(&msg, &mut bytes);
        let h = header::<M>(&bytes).unwrap().unwrap();
        assert_eq!(decode::<M>(h.kind, &bytes[HEADER..]).unwrap(), msg);
    }

    #[test]
    fn messages_arrive_as_they_were() {
        there_and_back(ToView::Draw((80, 24)));
        there_and_back(ToView::LetGo);
        there_and_back(ToView::Connected);
        there_and_back(ToView::Away(short(&"é".repeat(TEXT_MAX))));
        there_and_back(ToGuard::Connect);
        there_and_back(ToGuard::Suspend);
        there_and_back(ToGuard::Released);
        there_and_back(ToGuard::End(String::new()));
    }
}
