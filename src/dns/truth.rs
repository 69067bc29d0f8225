//! Where the pipeline gets the truth from: [`Resolver`] in the program, a small world of zones in tests and benches.

use crate::resolve::{Answer, Question, ResolveError, Resolver};

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

    fn known_dead(&self, question: &Question) -> bool {
        Self::known_dead(self, question)
    }
}
