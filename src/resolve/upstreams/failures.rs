//! PURE. What the servers that failed add up to. Read by `group`.

use super::super::ResolveError;
use super::super::upstream::AskError;

/// What the servers that failed add up to.
#[derive(Debug, Default)]
pub(super) struct Failures {
    code: Option<ResolveError>,
    timeout: bool,
    other: Option<String>,
    overload: Option<String>,
}

impl Failures {
    pub(super) fn note(&mut self, failure: AskError) {
        match failure {
            AskError::Failed {
                rcode,
                extended_errors,
            } => {
                self.code = Some(ResolveError::Failed {
                    rcode,
                    extended_errors,
                });
            }
            AskError::Timeout => self.timeout = true,
            AskError::Network(text) | AskError::Malformed(text) => self.other = Some(text),
            AskError::Overload(_) => self.overload = Some(failure.to_string()),
        }
    }

    /// A server's own word says most, then that one may only be slow.
    pub(super) fn sum(self) -> ResolveError {
        match self.code {
            Some(error) => error,
            None if self.timeout => ResolveError::Timeout,
            None => match (self.other, self.overload) {
                (Some(text), _) => ResolveError::Unreachable(text),
                (None, Some(text)) => ResolveError::Overload(text),
                (None, None) => ResolveError::Unreachable("no server is configured".to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;

    use super::*;

    #[test]
    fn a_code_says_more_than_silence_and_silence_more_than_no_path() {
        let mut failures = Failures::default();
        assert!(matches!(
            Failures::default().sum(),
            ResolveError::Unreachable(_)
        ));
        failures.note(AskError::Network("refused".to_owned()));
        failures.note(AskError::Timeout);
        assert_eq!(
            Failures {
                timeout: true,
                ..Failures::default()
            }
            .sum(),
            ResolveError::Timeout
        );
        failures.note(AskError::Failed {
            rcode: ResponseCode::Refused,
            extended_errors: vec![],
        });
        failures.note(AskError::Timeout);
        assert_eq!(
            failures.sum(),
            ResolveError::Failed {
                rcode: ResponseCode::Refused,
                extended_errors: vec![]
            }
        );
    }
}
