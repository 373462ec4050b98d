//! The table: what each event does in each state (RFC 4271 section 8.2.2).
//!
//! | event | Idle | Connect | Active | OpenSent | OpenConfirm | Established |
//! |---|---|---|---|---|---|---|
//! | ManualStart | Start | - | - | - | - | - |
//! | ManualStop | - | Drop | Drop | Notify | Notify | Notify |
//! | ConnectRetryTimer_Expires | - | Dial | Dial | Notify | Notify | Notify |
//! | HoldTimer_Expires | - | Drop | Drop | Notify | Notify | Notify |
//! | KeepaliveTimer_Expires | - | Drop | Drop | Notify | SendKeepalive | SendKeepalive |
//! | IdleHoldTimer_Expires | Start | Drop | Drop | Notify | Notify | Notify |
//! | SendHoldTimer_Expires | - | Drop | Drop | Notify | Notify | Notify |
//! | PathFails | - | - | - | Notify | Notify | Notify |
//! | Tcp_CR_Acked, TcpConnectionConfirmed | - | SendOpen | SendOpen | - | - | - |
//! | TcpConnectionFails | - | Drop | Drop | Retry | Drop | Drop |
//! | BGPOpen | - | Drop | Drop | ReceiveOpen | Notify | Notify |
//! | BGPHeaderErr, BGPOpenMsgErr | - | Drop | Drop | Notify | Notify | Notify |
//! | OpenCollisionDump | - | Drop | Drop | Notify | Notify | Notify |
//! | NotifMsgVerErr, NotifMsg | - | Drop | Drop | Drop | Drop | Drop |
//! | KeepAliveMsg | - | Drop | Drop | Notify | Establish | RestartHold |
//! | UpdateMsg | - | Drop | Drop | Notify | Notify | RestartHold |
//! | UpdateMsgErr | - | Drop | Drop | Notify | Notify | Notify |
//! | RouteRefreshMsg | - | Drop | Drop | Notify | Notify | - |
//!
//! Two departures: a NOTIFICATION received in OpenSent is not answered with an FSM error (a NOTIFICATION is never
//! answered), and a wrong header in Established gets its own code instead of 5/3. In OpenSent and later the second
//! connection that Tcp_CR_Acked and TcpConnectionConfirmed mean belongs to the other machine of the peer.

use super::event::Event;
use super::state::State;

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Procedure {
    /// Nothing.
    Ignore,
    /// Connect and dial, or Active where the machine is for incoming connections.
    Start,
    /// Give up the dial under way, dial again: Connect.
    Dial,
    /// Take the connection, send OPEN: OpenSent.
    SendOpen,
    /// Negotiate, send KEEPALIVE: OpenConfirm.
    ReceiveOpen,
    /// Established.
    Establish,
    /// Send KEEPALIVE and restart its timer.
    SendKeepalive,
    /// Restart the hold timer.
    RestartHold,
    /// Close, wait for the back-off: Active.
    Retry,
    /// Send the event's NOTIFICATION, close: Idle.
    Notify,
    /// Close without a word: Idle.
    Drop,
}

/// The table.
pub(super) fn cell(state: State, event: &Event) -> Procedure {
    match state {
        State::Idle => idle(event),
        State::Connect | State::Active => connecting(event),
        State::OpenSent => open_sent(event),
        State::OpenConfirm => open_confirm(event),
        State::Established => established(event),
    }
}

fn idle(event: &Event) -> Procedure {
    match event {
        Event::ManualStart | Event::IdleHoldTimerExpires => Procedure::Start,
        Event::ManualStop(_)
        | Event::ConnectRetryTimerExpires
        | Event::HoldTimerExpires
        | Event::KeepaliveTimerExpires
        | Event::SendHoldTimerExpires
        | Event::PathFails
        | Event::TcpCrAcked
        | Event::TcpConnectionConfirmed
        | Event::TcpConnectionFails(_)
        | Event::BgpOpen(_)
        | Event::BgpHeaderErr(_)
        | Event::BgpOpenMsgErr(_)
        | Event::OpenCollisionDump
        | Event::NotifMsgVerErr(_)
        | Event::NotifMsg(_)
        | Event::KeepAliveMsg
        | Event::UpdateMsg
        | Event::UpdateMsgErr(_)
        | Event::RouteRefreshMsg => Procedure::Ignore,
    }
}

fn connecting(event: &Event) -> Procedure {
    match event {
        Event::ManualStart | Event::PathFails => Procedure::Ignore,
        Event::ConnectRetryTimerExpires => Procedure::Dial,
        Event::TcpCrAcked | Event::TcpConnectionConfirmed => Procedure::SendOpen,
        Event::ManualStop(_)
        | Event::HoldTimerExpires
        | Event::KeepaliveTimerExpires
        | Event::IdleHoldTimerExpires
        | Event::SendHoldTimerExpires
        | Event::TcpConnectionFails(_)
        | Event::BgpOpen(_)
        | Event::BgpHeaderErr(_)
        | Event::BgpOpenMsgErr(_)
        | Event::OpenCollisionDump
        | Event::NotifMsgVerErr(_)
        | Event::NotifMsg(_)
        | Event::KeepAliveMsg
        | Event::UpdateMsg
        | Event::UpdateMsgErr(_)
        | Event::RouteRefreshMsg => Procedure::Drop,
    }
}

fn open_sent(event: &Event) -> Procedure {
    match event {
        Event::ManualStart | Event::TcpCrAcked | Event::TcpConnectionConfirmed => Procedure::Ignore,
        Event::TcpConnectionFails(_) => Procedure::Retry,
        Event::BgpOpen(_) => Procedure::ReceiveOpen,
        Event::NotifMsgVerErr(_) | Event::NotifMsg(_) => Procedure::Drop,
        Event::ManualStop(_)
        | Event::ConnectRetryTimerExpires
        | Event::HoldTimerExpires
        | Event::KeepaliveTimerExpires
        | Event::IdleHoldTimerExpires
        | Event::SendHoldTimerExpires
        | Event::PathFails
        | Event::BgpHeaderErr(_)
        | Event::BgpOpenMsgErr(_)
        | Event::OpenCollisionDump
        | Event::KeepAliveMsg
        | Event::UpdateMsg
        | Event::UpdateMsgErr(_)
        | Event::RouteRefreshMsg => Procedure::Notify,
    }
}

fn open_confirm(event: &Event) -> Procedure {
    match event {
        Event::ManualStart | Event::TcpCrAcked | Event::TcpConnectionConfirmed => Procedure::Ignore,
        Event::KeepaliveTimerExpires => Procedure::SendKeepalive,
        Event::KeepAliveMsg => Procedure::Establish,
        Event::TcpConnectionFails(_) | Event::NotifMsgVerErr(_) | Event::NotifMsg(_) => {
            Procedure::Drop
        }
        Event::ManualStop(_)
        | Event::ConnectRetryTimerExpires
        | Event::HoldTimerExpires
        | Event::IdleHoldTimerExpires
        | Event::SendHoldTimerExpires
        | Event::PathFails
        | Event::BgpOpen(_)
        | Event::BgpHeaderErr(_)
        | Event::BgpOpenMsgErr(_)
        | Event::OpenCollisionDump
        | Event::UpdateMsg
        | Event::UpdateMsgErr(_)
        | Event::RouteRefreshMsg => Procedure::Notify,
    }
}

fn established(event: &Event) -> Procedure {
    match event {
        Event::ManualStart
        | Event::TcpCrAcked
        | Event::TcpConnectionConfirmed
        | Event::RouteRefreshMsg => Procedure::Ignore,
        Event::KeepaliveTimerExpires => Procedure::SendKeepalive,
        Event::KeepAliveMsg | Event::UpdateMsg => Procedure::RestartHold,
        Event::TcpConnectionFails(_) | Event::NotifMsgVerErr(_) | Event::NotifMsg(_) => {
            Procedure::Drop
        }
        Event::ManualStop(_)
        | Event::ConnectRetryTimerExpires
        | Event::HoldTimerExpires
        | Event::IdleHoldTimerExpires
        | Event::SendHoldTimerExpires
        | Event::PathFails
        | Event::BgpOpen(_)
        | Event::BgpHeaderErr(_)
        | Event::BgpOpenMsgErr(_)
        | Event::OpenCollisionDump
        | Event::UpdateMsgErr(_) => Procedure::Notify,
    }
}
