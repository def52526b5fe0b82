// What went wrong with the last try is in the address.
const said = {"?wrong": "That is not the token.", "?wait": "Too many tries. Wait a minute."}[location.search];
const fault = document.getElementById("fault");
if (said && fault) {
  fault.textContent = said;
  fault.hidden = false;
}
