// An answer that says no, and why; gone where what it was about has been forgotten.

export class Refused extends Error {
  constructor(status, reason, gone = false) {
    super(reason);
    this.status = status;
    this.gone = gone;
  }
}
