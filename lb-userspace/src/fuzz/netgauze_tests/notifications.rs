//! NetGauze's names of errors, and the IANA registries' numbers.

use netgauze_bgp_pkt::notification::{
    BgpNotificationMessage as Any, CeaseError, FiniteStateMachineError, HoldTimerExpiredError,
    MessageHeaderError, OpenMessageError, RouteRefreshError, UpdateMessageError,
};
use netgauze_parse_utils::WritablePdu;

use crate::bgp::notification::Notification;

type Make = fn(Box<[u8]>) -> Any;

/// Code, subcode, and the message of such an error.
#[rustfmt::skip]
pub const ALL: [(u8, u8, Make); 39] = [
    (1, 0, |value| Any::MessageHeaderError(MessageHeaderError::Unspecific { value })),
    (1, 1, |value| Any::MessageHeaderError(MessageHeaderError::ConnectionNotSynchronized { value })),
    (1, 2, |value| Any::MessageHeaderError(MessageHeaderError::BadMessageLength { value })),
    (1, 3, |value| Any::MessageHeaderError(MessageHeaderError::BadMessageType { value })),
    (2, 0, |value| Any::OpenMessageError(OpenMessageError::Unspecific { value })),
    (2, 1, |value| Any::OpenMessageError(OpenMessageError::UnsupportedVersionNumber { value })),
    (2, 2, |value| Any::OpenMessageError(OpenMessageError::BadPeerAs { value })),
    (2, 3, |value| Any::OpenMessageError(OpenMessageError::BadBgpIdentifier { value })),
    (2, 4, |value| Any::OpenMessageError(OpenMessageError::UnsupportedOptionalParameter { value })),
    (2, 6, |value| Any::OpenMessageError(OpenMessageError::UnacceptableHoldTime { value })),
    (2, 7, |value| Any::OpenMessageError(OpenMessageError::UnsupportedCapability { value })),
    (2, 11, |value| Any::OpenMessageError(OpenMessageError::RoleMismatch { value })),
    (3, 0, |value| Any::UpdateMessageError(UpdateMessageError::Unspecific { value })),
    (3, 1, |value| Any::UpdateMessageError(UpdateMessageError::MalformedAttributeList { value })),
    (3, 2, |value| Any::UpdateMessageError(UpdateMessageError::UnrecognizedWellKnownAttribute { value })),
    (3, 3, |value| Any::UpdateMessageError(UpdateMessageError::MissingWellKnownAttribute { value })),
    (3, 4, |value| Any::UpdateMessageError(UpdateMessageError::AttributeFlagsError { value })),
    (3, 5, |value| Any::UpdateMessageError(UpdateMessageError::AttributeLengthError { value })),
    (3, 6, |value| Any::UpdateMessageError(UpdateMessageError::InvalidOriginAttribute { value })),
    (3, 8, |value| Any::UpdateMessageError(UpdateMessageError::InvalidNextHopAttribute { value })),
    (3, 9, |value| Any::UpdateMessageError(UpdateMessageError::OptionalAttributeError { value })),
    (3, 10, |value| Any::UpdateMessageError(UpdateMessageError::InvalidNetworkField { value })),
    (3, 11, |value| Any::UpdateMessageError(UpdateMessageError::MalformedAsPath { value })),
    (4, 0, |value| Any::HoldTimerExpiredError(HoldTimerExpiredError::Unspecific { sub_code: 0, value })),
    (5, 0, |value| Any::FiniteStateMachineError(FiniteStateMachineError::Unspecific { value })),
    (5, 1, |value| Any::FiniteStateMachineError(FiniteStateMachineError::ReceiveUnexpectedMessageInOpenSentState { value })),
    (5, 2, |value| Any::FiniteStateMachineError(FiniteStateMachineError::ReceiveUnexpectedMessageInOpenConfirmState { value })),
    (5, 3, |value| Any::FiniteStateMachineError(FiniteStateMachineError::ReceiveUnexpectedMessageInEstablishedState { value })),
    (6, 1, |value| Any::CeaseError(CeaseError::MaximumNumberOfPrefixesReached { value })),
    (6, 2, |value| Any::CeaseError(CeaseError::AdministrativeShutdown { value })),
    (6, 3, |value| Any::CeaseError(CeaseError::PeerDeConfigured { value })),
    (6, 4, |value| Any::CeaseError(CeaseError::AdministrativeReset { value })),
    (6, 5, |value| Any::CeaseError(CeaseError::ConnectionRejected { value })),
    (6, 6, |value| Any::CeaseError(CeaseError::OtherConfigurationChange { value })),
    (6, 7, |value| Any::CeaseError(CeaseError::ConnectionCollisionResolution { value })),
    (6, 8, |value| Any::CeaseError(CeaseError::OutOfResources { value })),
    (6, 9, |value| Any::CeaseError(CeaseError::HardReset { value })),
    (6, 10, |value| Any::CeaseError(CeaseError::BfdDown { value })),
    (7, 1, |value| Any::RouteRefreshError(RouteRefreshError::InvalidMessageLength { value })),
];

/// In our words.
///
/// # Panics
/// It is not in the table.
pub fn heard(message: &Any) -> Notification {
    let mut bytes = Vec::new();
    message.write(&mut bytes).expect("memory holds it");
    let data = &bytes[2..];
    if let Any::HoldTimerExpiredError(HoldTimerExpiredError::Unspecific { sub_code, .. }) = message
    {
        return Notification::with_data(4, *sub_code, data);
    }
    let row = ALL.iter().find(|(.., make)| make(data.into()) == *message);
    let (code, subcode, _) = row.expect("in the table");
    Notification::with_data(*code, *subcode, data)
}
