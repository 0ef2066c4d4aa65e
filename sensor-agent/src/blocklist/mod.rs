//! The block and exemption lists as operators use them: what may be blocked, how lists are exchanged, how entries are
//! shown. The entries themselves live in the kernel's pinned maps and nowhere else.

pub(crate) mod exchange;
#[cfg(test)]
mod memory;
pub(crate) mod view;

use std::fmt;
use std::path::Path;

use anyhow::Context;
use ipnet::IpNet;

use crate::kernel::lists::{Blocked, Exemption, Lists, NewBlock, Origin, Scope};

/// The lists, with the rules for changing them.
pub(crate) struct Book(Backing);

enum Backing {
    Kernel(Box<Lists>),
    #[cfg(test)]
    Memory(memory::Memory),
}

/// Runs the same call on whatever backs the lists.
macro_rules! backing {
    ($book:expr, $lists:ident => $call:expr) => {
        match $book {
            Backing::Kernel($lists) => $call,
            #[cfg(test)]
            Backing::Memory($lists) => $call,
        }
    };
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Book")
    }
}

/// Why an entry was not made.
#[derive(Debug)]
pub(crate) enum BlockError {
    /// It would be everybody.
    Everybody(IpNet),
    /// An exemption covers it.
    Exempt(IpNet, Exemption),
    /// The kernel refused, or is not there.
    Kernel(anyhow::Error),
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody(net) => {
                write!(
                    f,
                    "`{net}` is every address of its family, expected a longer prefix (nothing blocks everybody)"
                )
            }
            Self::Exempt(target, by) => {
                let (target, by, origin) =
                    (crate::target::show(*target), crate::target::show(by.target), view::origin(by.origin));
                write!(f, "`{target}` is covered by the exemption `{by}` ({origin}), which beats every block")
            }
            Self::Kernel(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for BlockError {}

impl Book {
    /// Opens the lists that are pinned below `pins`.
    pub(crate) fn open(pins: &Path) -> anyhow::Result<Self> {
        let lists = Lists::open(pins).context("the kernel's lists cannot be opened")?;
        Ok(Self(Backing::Kernel(Box::new(lists))))
    }

    /// Lists of a test, without a kernel.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self(Backing::Memory(memory::Memory::default()))
    }

    /// Whether an entry for `target` may be made.
    pub(crate) fn check(&self, target: IpNet) -> Result<(), BlockError> {
        if target.prefix_len() == 0 {
            return Err(BlockError::Everybody(target));
        }
        let exemptions = self.exemptions().map_err(BlockError::Kernel)?;
        match exemptions.into_iter().find(|exemption| exemption.target.contains(&target)) {
            Some(exemption) => Err(BlockError::Exempt(target, exemption)),
            None => Ok(()),
        }
    }

    /// Makes or replaces an entry.
    pub(crate) fn block(&mut self, new: &NewBlock) -> Result<(), BlockError> {
        self.check(new.target)?;
        self.block_checked(new).map_err(BlockError::Kernel)
    }

    /// Makes or replaces an entry that [`Book::check`] or its like has passed.
    pub(crate) fn block_checked(&mut self, new: &NewBlock) -> anyhow::Result<()> {
        backing!(&mut self.0, lists => lists.block(new))
    }

    /// Makes or replaces many entries that [`Book::check`] or its like has passed.
    pub(crate) fn block_many_checked(&mut self, new: &[NewBlock]) -> anyhow::Result<()> {
        let (whole, scoped): (Vec<NewBlock>, Vec<NewBlock>) =
            new.iter().cloned().partition(|new| new.scope == Scope::Host);
        backing!(&mut self.0, lists => lists.block_many(&whole))?;
        scoped.iter().try_for_each(|new| self.block_checked(new))
    }

    /// Removes an entry; false if there was none.
    pub(crate) fn unblock(&mut self, target: IpNet, scope: Scope) -> anyhow::Result<bool> {
        backing!(&mut self.0, lists => lists.unblock(target, scope))
    }

    /// One entry.
    pub(crate) fn find(&self, target: IpNet, scope: Scope) -> anyhow::Result<Option<Blocked>> {
        backing!(&self.0, lists => lists.find(target, scope))
    }

    /// All entries, in address order.
    pub(crate) fn blocked(&self) -> anyhow::Result<Vec<Blocked>> {
        backing!(&self.0, lists => lists.blocked())
    }

    /// Makes an exemption of an operator.
    pub(crate) fn exempt(&mut self, target: IpNet) -> anyhow::Result<()> {
        backing!(&mut self.0, lists => lists.exempt(target, Origin::Operator))
    }

    /// Removes an operator's exemption; false if there was none.
    pub(crate) fn unexempt(&mut self, target: IpNet) -> anyhow::Result<bool> {
        backing!(&mut self.0, lists => lists.unexempt(target))
    }

    /// All exemptions, in address order.
    pub(crate) fn exemptions(&self) -> anyhow::Result<Vec<Exemption>> {
        backing!(&self.0, lists => lists.exemptions())
    }

    /// Suspends all automatic blocks in the kernel at once, then removes them; returns how many there were.
    pub(crate) fn panic(&mut self) -> anyhow::Result<usize> {
        backing!(&mut self.0, lists => lists.suspend_automatic(true))?;
        backing!(&mut self.0, lists => lists.lift_automatic())
    }

    /// Lets automatic blocks count again.
    pub(crate) fn resume(&mut self) -> anyhow::Result<()> {
        backing!(&mut self.0, lists => lists.suspend_automatic(false))
    }

    /// Whether the panic switch is on.
    pub(crate) fn suspended(&self) -> anyhow::Result<bool> {
        backing!(&self.0, lists => lists.automatic_suspended())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(target: &str) -> NewBlock {
        let target = crate::target::parse(target).unwrap();
        let (scope, origin) = (Scope::Host, Origin::Verdict);
        NewBlock { target, scope, lasts: None, shadow: false, origin, reason: String::new() }
    }

    #[test]
    fn what_an_exemption_covers_is_refused_and_named() {
        let mut book = Book::in_memory();
        book.exempt(crate::target::parse("10.0.0.0/8").unwrap()).unwrap();
        let error = book.block(&new("10.1.0.0/16")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`10.1.0.0/16` is covered by the exemption `10.0.0.0/8` (operator), which beats every block"
        );
        assert!(book.block(&new("0.0.0.0/1")).is_ok(), "a block around an exemption is allowed");
        assert!(matches!(book.block(&new("::/0")), Err(BlockError::Everybody(_))));
    }

    #[test]
    fn panic_lifts_automatic_entries_only() {
        let mut book = Book::in_memory();
        book.block(&new("192.0.2.1")).unwrap();
        book.block(&NewBlock { origin: Origin::Operator, ..new("192.0.2.2") }).unwrap();
        assert_eq!(book.panic().unwrap(), 1);
        assert!(book.suspended().unwrap());
        assert_eq!(book.blocked().unwrap().len(), 1);
        book.resume().unwrap();
        assert!(!book.suspended().unwrap());
    }
}
