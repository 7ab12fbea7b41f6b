//! As whom views, triggers, routines and events run that a backup brings.
//!
//! A dump names the accounts that defined them. Of those that are none of the instance's, one may be gone, and another may
//! be that of another instance whose backup is restored here: what ran as it would reach that one. An account of the
//! instance's own, with which nobody logs in, takes their place.

use std::{borrow::Cow, io};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

use crate::tenant::Account;

/// What is looked at together: a definer stands near the beginning of its line.
const PIECE: usize = 64 << 10;
const DEFINER: &[u8] = b"DEFINER=`";

/// The accounts that what is loaded may run as.
#[derive(Debug)]
pub(crate) struct Definers {
    pub(crate) there: Vec<Account>,
    /// For all others.
    pub(crate) otherwise: Account,
}

impl Definers {
    /// Copies a dump to its end.
    pub(crate) async fn copy(
        &self,
        dump: impl AsyncRead + Unpin,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let mut dump = BufReader::with_capacity(PIECE, dump);
        let (mut piece, mut begins_line) = (Vec::with_capacity(PIECE), true);
        while (&mut dump).take(PIECE as u64).read_until(b'\n', &mut piece).await? > 0 {
            // Lines with data are left alone, whatever they hold.
            let is_data = !begins_line || piece.starts_with(b"INSERT ");
            let written = if is_data { Cow::Borrowed(piece.as_slice()) } else { self.renamed(&piece) };
            to.write_all(&written).await?;
            begins_line = piece.last() == Some(&b'\n');
            piece.clear();
        }
        to.flush().await
    }

    fn renamed<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        let renamed = || {
            let begins = line.windows(DEFINER.len()).position(|word| word == DEFINER)? + DEFINER.len();
            let (before, rest) = line.split_at(begins);
            let name = rest.split(|byte| *byte == b'`').next()?;
            let account = Account::read(std::str::from_utf8(name).ok()?)?;
            let is_strange = !self.there.contains(&account);
            is_strange.then(|| [before, self.otherwise.as_str().as_bytes(), &rest[name.len()..]].concat())
        };
        renamed().map_or(Cow::Borrowed(line), Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use broker_core::OpaqueId;

    use super::*;

    #[tokio::test] // SPEC Z-10
    async fn what_a_strange_account_defined_is_the_instances_own_and_data_stays_as_it_is() {
        let account = || Account::with(&OpaqueId::generate());
        let (known, strange, own) = (account(), account(), account());
        let (known, strange) = (known.clone(), strange.as_str());
        let definers = Definers { there: vec![known.clone()], otherwise: own.clone() };
        let filler = "x".repeat(3 * PIECE);
        let dump = |strange: &str| {
            let known = known.as_str();
            format!(
                "/*!50013 DEFINER=`{known}`@`%` SQL SECURITY DEFINER */\n\
                 /*!50003 CREATE*/ /*!50017 DEFINER=`{strange}`@`%`*/ /*!50003 TRIGGER t\n\
                 CREATE DEFINER=`root`@`localhost` PROCEDURE p() SELECT '{filler}'"
            )
        };
        let data =
            format!("\nINSERT INTO `t` VALUES ('DEFINER=`{strange}`@`%`'),('{filler}DEFINER=`{strange}`@`%`');\n");

        let mut copied = Vec::new();
        definers.copy((dump(strange) + &data).as_bytes(), &mut copied).await.unwrap();

        assert!(copied == (dump(own.as_str()) + &data).into_bytes());
    }
}
