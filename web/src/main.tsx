import './style.css';
import {render} from 'preact';
import {takeKeyOfLink} from './api';
import {App} from './app';
import {takeLink} from './signin';
import {say, start} from './state';
import {openBrowserStore} from './store';
import {t} from './i18n';

takeKeyOfLink();
takeLink();
render(<App />, document.getElementById('page')!);
openBrowserStore().then(start, (e) => say(t('errorStore', String(e?.message ?? e)), true));
