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
}

impl Truth for Resolver {
    fn lookup(
        &self,
        question: &Question,
    ) -> impl Future<Output = Result<Answer, ResolveError>> + Send {
        Self::lookup(self, question)
    }
}
