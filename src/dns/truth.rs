//! Where the pipeline gets the truth from: [`Resolver`] in the program, a small world of zones in tests and benches.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::Guard;
use hickory_proto::rr::Name;

use crate::net::Family;
use crate::resolve::cache::{Cache, Key};
use crate::resolve::{Answer, Asker, Begun, Life, Question, ResolveError, Resolver};

/// The truth about names, as [`Resolver`] gives it. A trait only so that tests and benchmarks can play the upstream
/// without a network.
pub trait Truth: Send + Sync + 'static {
    /// The answer to a question.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] when no server gave NOERROR or NXDOMAIN.
    fn lookup(
        &self,
        question: &Question,
    ) -> impl Future<Output = Result<Answer, ResolveError>> + Send;

    /// Whether the answer is at hand, so that nobody need be asked; never, where nothing is kept.
    fn holds(&self, _question: &Question) -> bool {
        false
    }

    /// The addresses of a name, as far as they are at hand.
    fn known(&self, _name: &Name, _family: Family) -> Option<Vec<IpAddr>> {
        None
    }

    /// How long the answer that is at hand holds; `None` where none is, or where it is to be asked for again. Where nothing
    /// is kept, nothing is known to hold.
    fn life(&self, _question: &Question) -> Option<Life> {
        None
    }

    /// Begins to ask without a task ([`Resolver::begin`]), with an asker that is made where that can be; not where there is no
    /// upstream.
    fn begin(
        &self,
        _question: &Question,
        _key: &Key,
        _wire: &[u8],
        _begun: &mut Begun,
        _asker: impl FnOnce() -> Option<Box<dyn Asker>>,
    ) -> bool {
        false
    }

    /// Where answers are kept; `None` where they are not.
    fn kept(&self) -> Option<Guard<Arc<Cache>>> {
        None
    }

    /// How often answers that are kept were forgotten before their time. Who reads it before an answer knows later whether
    /// that may be another one now.
    fn flushes(&self) -> u64 {
        0
    }

    /// Whether nobody who could be asked is known to answer now.
    fn known_dead(&self, _question: &Question) -> bool {
        false
    }
}

impl Truth for Resolver {
    fn lookup(
        &self,
        question: &Question,
    ) -> impl Future<Output = Result<Answer, ResolveError>> + Send {
        Self::lookup(self, question)
    }

    fn holds(&self, question: &Question) -> bool {
        Self::holds(self, question)
    }

    fn known(&self, name: &Name, family: Family) -> Option<Vec<IpAddr>> {
        self.known_addresses(name, family)
    }

    fn life(&self, question: &Question) -> Option<Life> {
        Self::life(self, question)
    }

    fn begin(
        &self,
        question: &Question,
        key: &Key,
        wire: &[u8],
        begun: &mut Begun,
        asker: impl FnOnce() -> Option<Box<dyn Asker>>,
    ) -> bool {
        Self::begin(self, question, key, wire, begun, asker)
    }

    fn kept(&self) -> Option<Guard<Arc<Cache>>> {
        Some(Self::cache(self))
    }

    fn flushes(&self) -> u64 {
        Self::flushes(self)
    }

    fn known_dead(&self, question: &Question) -> bool {
        Self::known_dead(self, question)
    }
}
